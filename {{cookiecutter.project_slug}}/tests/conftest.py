"""Fixtures of all tests, which run on the active profile."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core import mail
from django.test import Client
from outlast import testing

from accounts.models import User

PASSWORD = "correct horse battery staple"

if not django_settings.PROFILE.startswith("redis"):
    collect_ignore = ["redis"]

# The quickest one. Not in a fixture, because `setUpTestData()` of a TestCase runs before fixtures.
django_settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


def is_logged_in(browser: Client) -> bool:
    return browser.get("/dashboard/").status_code == 200


def post_login(
    browser: Client, email: str = "ada@example.com", password: str = PASSWORD, **form: str
) -> Any:
    return browser.post("/accounts/login/", {"username": email, "password": password} | form)


def key_of(browser: Client) -> str:
    return browser.cookies[django_settings.SESSION_COOKIE_NAME].value


def with_key(browser: Client, key: str) -> Client:
    browser.cookies[django_settings.SESSION_COOKIE_NAME] = key
    return browser


def link_in_mail() -> str:
    """Return the path of the link in the last mail."""
    found = re.search(r"^https?://[^/]+(/\S+)$", str(mail.outbox[-1].body), re.M)
    assert found
    return found[1]


def choose_password(browser: Client, link: str, password: str) -> Any:
    """Follow a link and choose the password there; return the response."""
    page: Any = browser.get(link, follow=True)
    form = {"new_password1": password, "new_password2": password}
    return browser.post(page.request["PATH_INFO"], form)


@pytest.fixture(autouse=True)
def _quick(settings: Any, tmp_path: Path) -> None:
    """Use folders of the test and a quick static storage, and do not wait for mail."""
    settings.SESSION_FILE_PATH = tmp_path / "sessions"
    if "filebased" in settings.CACHES["default"]["BACKEND"]:
        cache = settings.CACHES["default"] | {"LOCATION": tmp_path / "cache"}
        settings.CACHES = settings.CACHES | {"default": cache}
    settings.MAIL_SECONDS = 0
    settings.STORAGES = settings.STORAGES | {
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    }
    settings.STATIC_ROOT = None  # WhiteNoise warns of a missing folder


@pytest.fixture
def user(db: None) -> User:
    """A user whose password is PASSWORD."""
    return User.objects.create_user("ada@example.com", PASSWORD)


class Browser(Client):
    """Django's client, with the scheme and the host of SITE_URL."""

    def request(self, **environ: Any) -> Any:
        scheme = "https" if django_settings.HTTPS else "http"
        host = django_settings.ALLOWED_HOSTS[0]
        return super().request(**environ | {"wsgi.url_scheme": scheme, "HTTP_HOST": host})


@pytest.fixture
def https() -> Client:
    """A browser that is not logged in."""
    return Browser()


@pytest.fixture
def new_browser() -> Callable[[], Client]:
    """A function that returns one more browser."""
    return Browser


@pytest.fixture
def log_in(user: User) -> Callable[..., Client]:
    """A function that logs a user in with one more browser."""

    def log_in(email: str = user.email, **environ: Any) -> Client:
        browser = Browser(**environ)
        assert post_login(browser, email).status_code == 302
        return browser

    return log_in


@pytest.fixture
def admin(db: None) -> Client:
    """The browser of a superuser."""
    browser = Browser()
    browser.force_login(User.objects.create_superuser("root@example.com", PASSWORD))
    return browser


@pytest.fixture
def page() -> Any:
    """A context with the open WebSocket of a page in a browser; docs/live.md has an example."""
    return testing.page
