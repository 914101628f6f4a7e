"""What `SITE_URL` decides. That `check --deploy` is content is proved from outside."""

import runpy
from typing import Any

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured


def read(monkeypatch: pytest.MonkeyPatch, debug: bool, url: str) -> dict[str, Any]:
    """Return the settings of a site that is started with these variables."""
    monkeypatch.setenv("DJANGO_DEBUG", str(int(debug)))
    monkeypatch.setenv("SITE_URL", url)
    return runpy.run_path(str(settings.BASE_DIR / "config" / "settings.py"))


def test_over_https_everything_is_strict(monkeypatch: pytest.MonkeyPatch) -> None:
    strict = {
        "ALLOWED_HOSTS": ["www.example.com"],
        "CSRF_COOKIE_NAME": "__Host-csrftoken",
        "CSRF_COOKIE_SECURE": True,
        "CSRF_TRUSTED_ORIGINS": ["https://www.example.com"],
        "SECURE_HSTS_INCLUDE_SUBDOMAINS": True,
        "SECURE_HSTS_SECONDS": 365 * 24 * 3600,
        "SECURE_PROXY_SSL_HEADER": ("HTTP_X_FORWARDED_PROTO", "https"),
        "SECURE_SSL_REDIRECT": True,
        "SESSION_COOKIE_NAME": "__Host-sessionid",
        "SESSION_COOKIE_SECURE": True,
    }
    assert strict.items() <= read(monkeypatch, False, "https://www.example.com").items()


def test_while_developing_plain_http_works(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = {
        "CSRF_COOKIE_NAME": "csrftoken",
        "CSRF_COOKIE_SECURE": False,
        "CSRF_TRUSTED_ORIGINS": ["http://localhost:8000"],
        "SECURE_HSTS_SECONDS": 0,
        "SECURE_PROXY_SSL_HEADER": None,
        "SECURE_SSL_REDIRECT": False,
        "SESSION_COOKIE_NAME": "sessionid",
        "SESSION_COOKIE_SECURE": False,
    }
    found = read(monkeypatch, True, "http://localhost:8000")
    assert plain.items() <= found.items()
    assert {"localhost", "127.0.0.1"} <= set(found["ALLOWED_HOSTS"])


@pytest.mark.parametrize("url", ["", "http://www.example.com", "www.example.com", "https://"])
def test_in_production_nothing_but_https_starts(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="SITE_URL is"):
        read(monkeypatch, False, url)
