"""The settings that the environment makes, and errors in one sentence."""

import re
import runpy
from typing import Any

import django
import pytest
from django.conf import settings
from django.core import mail
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from outlast.checks import check_cookies

pytestmark = pytest.mark.any_profile

SITE = "https://www.example.com"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that returns the settings of a site that is started with some variables."""

    def read(**variables: str) -> dict[str, Any]:
        for name, value in ({"DJANGO_DEBUG": "0", "SITE_URL": SITE} | variables).items():
            monkeypatch.setenv(name, value)
        return runpy.run_path(str(settings.BASE_DIR / "config" / "settings.py"))

    return read


def test_https_is_strict(read: Any) -> None:
    strict = {
        "SITE_URL": SITE,
        "ALLOWED_HOSTS": ["www.example.com"],
        "CSRF_COOKIE_HTTPONLY": True,
        "CSRF_COOKIE_NAME": "__Host-csrftoken",
        "CSRF_COOKIE_SECURE": True,
        "CSRF_TRUSTED_ORIGINS": [SITE],
        "SECURE_HSTS_INCLUDE_SUBDOMAINS": False,
        "SECURE_HSTS_SECONDS": 3600,
        "SECURE_PROXY_SSL_HEADER": ("HTTP_X_FORWARDED_PROTO", "https"),
        "SECURE_SSL_REDIRECT": True,
        "SESSION_COOKIE_NAME": "__Host-sessionid",
        "SESSION_COOKIE_SECURE": True,
        "PASSWORD_RESET_TIMEOUT": 3600,
        "SESSION_COOKIE_AGE": 14 * 24 * 3600,
    }
    found = read(SITE_URL="https://WWW.Example.com:443/")
    assert strict.items() <= found.items()
    assert found["OUTLAST"]["SESSION_IDLE_SECONDS"] == 14 * 24 * 3600
    assert found["OUTLAST"]["SESSION_ABSOLUTE_SECONDS"] == 30 * 24 * 3600


def test_plain_http_works_in_development(read: Any) -> None:
    plain = {
        "CSRF_COOKIE_NAME": "csrftoken",
        "SECURE_HSTS_SECONDS": 0,
        "SECURE_PROXY_SSL_HEADER": None,
        "SECURE_SSL_REDIRECT": False,
        "SESSION_COOKIE_NAME": "sessionid",
        "SESSION_COOKIE_SECURE": False,
    }
    found = read(DJANGO_DEBUG="1", SITE_URL="http://localhost:8000")
    assert plain.items() <= found.items()
    assert {"localhost", "127.0.0.1"} <= set(found["ALLOWED_HOSTS"])


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("SITE_URL", "", "SITE_URL is not set, but must be the site's address"),
        ("SITE_HOSTS", "example.com/app", "SITE_HOSTS has more than scheme, host and port"),
        ("PAGE_THREADS", "0", "PAGE_THREADS is 0, but must be at least 1."),
        ("SESSION_IDLE_SECONDS", "-1", "SESSION_IDLE_SECONDS is -1, but must be at least 0."),
        ("DATABASE_STATEMENT_SECONDS", "-1", "DATABASE_STATEMENT_SECONDS is -1, but must"),
        ("PAGE_THREADS", "3s", "PAGE_THREADS is '3s', but must be a whole number"),
        ("DATABASE_URL", "postgres://user:secret/3@host/name", "DATABASE_URL cannot be read"),
        ("DATABASE_URL_FILE", "/not/there", "DATABASE_URL_FILE names /not/there, which cannot"),
        ("DJANGO_SECRET_KEY", "", "DJANGO_SECRET_KEY is not set"),
        ("DJANGO_DEBUG", "tru", "DJANGO_DEBUG is 'tru', but must be 1 or 0"),
        ("EMAIL_URL", "user:secret@mail.example", "EMAIL_URL cannot be read"),
        ("EMAIL_URL", "smtp://user:secret/3@mail.example", "EMAIL_URL cannot be read"),
    ],
)
def test_errors_name_the_variable(read: Any, variable: str, value: str, sentence: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"^{re.escape(sentence)}") as refused:
        read(**{variable: value})
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(("method", "status"), [("get", 301), ("post", 308)])
def test_other_hosts_redirect_to_the_site(
    read: Any, client: Client, settings: Any, method: str, status: int
) -> None:
    found = read(SITE_HOSTS="https://Example.com,www.example.com,café.example")
    assert set(found["OUTLAST"]["SITE_HOSTS"]) == {"example.com", "xn--caf-dma.example"}
    for name in ("OUTLAST", "ALLOWED_HOSTS"):
        setattr(settings, name, found[name])
    host = {"HTTP_HOST": "example.com:443", "secure": True}
    response = getattr(client, method)("/accounts/login/?next=/a/", **host)
    assert response.status_code == status
    assert response.headers["Location"] == f"{SITE}/accounts/login/?next=/a/"
    page = client.get("/accounts/login/", HTTP_HOST="www.example.com", secure=True)
    assert page.status_code == 200


@pytest.mark.parametrize(
    ("option", "value"), [("DOMAIN", ".example.test"), ("PATH", "/app/"), ("SECURE", False)]
)
def test_cookies_that_their_prefix_forbids_are_refused(
    settings: Any, option: str, value: Any
) -> None:
    settings.SESSION_COOKIE_NAME, settings.SESSION_COOKIE_SECURE = "__Host-sessionid", True
    assert list(check_cookies()) == []
    setattr(settings, f"SESSION_COOKIE_{option}", value)
    (error,) = check_cookies()
    assert "__Host-sessionid: it must be secure" in error.msg
    assert f"SESSION_COOKIE_{option}" in str(error.hint)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "smtp+tls://ada%40example.com:p%2Fw@smtp.example.com:587",
            {"host": "smtp.example.com", "port": 587, "username": "ada@example.com"}
            | {"password": "p/w", "use_tls": True, "use_ssl": False, "timeout": 10},
        ),
        ("smtp+ssl://smtp.example.com:465", {"use_ssl": True, "use_tls": False, "port": 465}),
        ("consolemail://", {}),
    ],
)
def test_mail(read: Any, settings: Any, url: str, expected: dict[str, Any]) -> None:
    """Up to the backend that Django makes of the settings."""
    for name, value in read(EMAIL_URL=url).items():
        if name == "MAILERS" or name.startswith("EMAIL_"):
            setattr(settings, name, value)
    backend = mail.get_connection() if django.VERSION < (6, 1) else mail.mailers.default
    assert expected.items() <= vars(backend).items()
    assert ("outlast.mail" in type(backend).__module__) is url.startswith("console")
