"""What all tests of the site share; they run on whatever profile is active."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.test import Client

from accounts.models import User

PASSWORD = "correct horse battery staple"

if not django_settings.PROFILE.startswith("redis"):
    # Tests of what only the Redis profiles have; nox runs them under those.
    collect_ignore = ["redis"]


def is_logged_in(browser: Client) -> bool:
    return browser.get("/dashboard/").status_code == 200


@pytest.fixture(autouse=True)
def _quick(settings: Any, tmp_path: Path) -> None:
    """A hasher and a static storage that cost nothing: neither is what tests are about."""
    settings.SESSION_FILE_PATH = tmp_path / "sessions"
    settings.MAIL_SECONDS = 0
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.STORAGES = settings.STORAGES | {
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    }
    settings.STATIC_ROOT = None  # nothing is collected; WhiteNoise warns of a missing folder


@pytest.fixture
def user(db: None) -> User:
    """A user whose password is PASSWORD."""
    return User.objects.create_user("ada@example.com", PASSWORD)


class Browser(Client):
    """Django's client, coming by the scheme and to the host of SITE_URL."""

    def request(self, **environ: Any) -> Any:
        scheme = "https" if django_settings.HTTPS else "http"
        host = django_settings.ALLOWED_HOSTS[0]
        return super().request(**environ | {"wsgi.url_scheme": scheme, "HTTP_HOST": host})


@pytest.fixture
def https() -> Client:
    """A browser of somebody who is not logged in."""
    return Browser()


@pytest.fixture
def new_browser() -> Callable[[], Client]:
    """A function that returns one more browser."""
    return Browser


@pytest.fixture
def use_mail(settings: Any) -> Callable[[type], None]:
    """A function that has mail sent by a backend, by whatever name Django has for that."""

    def use(backend: type) -> None:
        path = f"{backend.__module__}.{backend.__qualname__}"
        if hasattr(settings, "MAILERS"):
            settings.MAILERS = {"default": {"BACKEND": path}}
        else:
            settings.EMAIL_BACKEND = path

    return use
