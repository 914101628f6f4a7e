"""What all tests of the site share; they run on whatever profile is active."""

from typing import Any

import pytest
from django.conf import settings as django_settings
from django.test import Client

from apps.accounts.models import User

PASSWORD = "correct horse battery staple"

if not django_settings.PROFILE.startswith("redis"):
    # Tests of what only the Redis profiles have; nox runs them under those.
    collect_ignore = ["redis"]


@pytest.fixture(autouse=True)
def _quick(settings: Any) -> None:
    """A hasher and a static storage that cost nothing: neither is what tests are about."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.STORAGES = settings.STORAGES | {
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    }


@pytest.fixture
def user(db: None) -> User:
    """A user whose password is PASSWORD."""
    return User.objects.create_user("ada@example.com", PASSWORD)


@pytest.fixture
def https(settings: Any) -> Client:
    """A browser that enforces CSRF and follows the site's own scheme."""
    scheme = {"HTTP_HOST": settings.ALLOWED_HOSTS[0], "wsgi.url_scheme": "https"}
    return Client(**(scheme if settings.HTTPS else {"HTTP_HOST": settings.ALLOWED_HOSTS[0]}))
