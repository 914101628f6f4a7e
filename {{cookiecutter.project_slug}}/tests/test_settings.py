"""The settings that the environment makes, and errors in one sentence."""

import os
import re
import runpy
import subprocess
import sys
from typing import Any

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.test import Client

from config import address
from config.environment import Env

pytestmark = pytest.mark.any_profile

SITE = "https://www.example.com"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that returns the settings of a site that is started with some variables."""

    monkeypatch.setattr("config.environment.find_spec", bool)  # as if psycopg were installed

    def read(**variables: str) -> dict[str, Any]:
        for name, value in ({"DJANGO_DEBUG": "0", "SITE_URL": SITE} | variables).items():
            monkeypatch.setenv(name, value)
        return runpy.run_path(str(settings.BASE_DIR / "config" / "settings.py"))

    return read


def test_https_is_strict(read: Any) -> None:
    strict = {
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
    }
    assert strict.items() <= read().items()


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
    ("url", "expected", "host"),
    [
        ("https://WWW.Example.com/", SITE, "www.example.com"),
        ("HTTPS://www.example.com:443", SITE, "www.example.com"),
        ("https://www.example.com.:8443//", f"{SITE}:8443", "www.example.com"),
        ("https://Café.example", "https://xn--caf-dma.example", "xn--caf-dma.example"),
        ("https://[2001:DB8:0:0::1]:443", "https://[2001:db8::1]", "[2001:db8::1]"),
    ],
)
def test_an_address_has_one_spelling(read: Any, url: str, expected: str, host: str) -> None:
    found = read(SITE_URL=url)
    assert found["SITE_URL"] == expected
    assert found["CSRF_TRUSTED_ORIGINS"] == [expected]  # WebSockets and mails follow it as well
    assert found["ALLOWED_HOSTS"] == [host]


MORE = "SITE_URL has more than scheme, host and port"


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("SITE_URL", "", "SITE_URL is not set, but must be the site's address"),
        ("SITE_URL", "http://www.example.com", "SITE_URL is"),
        ("SITE_URL", "https://example.com/app", MORE),
        ("SITE_URL", "https://ada:secret@example.com", MORE),
        ("SITE_URL", "https://example.com:port", "SITE_URL is"),
        ("SITE_URL", "https://straße.example", "SITE_URL is"),
        ("SITE_URL", f"https://{'ä' * 70}.example", "SITE_URL is"),
        ("SITE_HOSTS", "example.com/app", "SITE_HOSTS has more than scheme, host and port"),
        ("PAGE_THREADS", "0", "PAGE_THREADS is 0, but must be at least 1."),
        ("SESSION_IDLE_SECONDS", "-1", "SESSION_IDLE_SECONDS is -1, but must be at least 0."),
        ("DATABASE_STATEMENT_SECONDS", "-1", "DATABASE_STATEMENT_SECONDS is -1, but must"),
        ("PAGE_THREADS", "3s", "PAGE_THREADS is '3s', but must be a whole number"),
        ("DATABASE_URL", "postgres://user:secret/3@host/name", "DATABASE_URL cannot be read"),
        ("DATABASE_URL", "postgres://u@h/n?conn_max_age=abc", "DATABASE_URL has conn_max_age=abc"),
        ("DATABASE_URL", "sqlite:////srv/db?conn_max_age=True", "DATABASE_URL has conn_max_age="),
        ("DATABASE_URL", "postgres://u@h/n?pool=big", "DATABASE_URL has pool=big"),
        ("DATABASE_URL_FILE", "/not/there", "DATABASE_URL_FILE cannot be read: "),
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


def test_the_server_prints_the_sentence() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "config.serve"],
        cwd=settings.BASE_DIR,
        env=os.environ | {"PAGE_THREADS": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == "The site cannot start: PAGE_THREADS is 0, but must be at least 1.\n"


def test_postgresql_needs_its_package(read: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("config.environment.find_spec", {}.get)
    with pytest.raises(ImproperlyConfigured, match=r"needs the package psycopg: run .*psycopg"):
        read(DATABASE_URL="postgres://user:secret@127.0.0.1/name")


@pytest.mark.parametrize(("method", "status"), [("get", 301), ("post", 308)])
def test_other_hosts_redirect_to_the_site(
    read: Any, client: Client, settings: Any, method: str, status: int
) -> None:
    found = read(SITE_HOSTS="https://Example.com,www.example.com,café.example")
    assert found["SITE_HOSTS"] == {"example.com", "xn--caf-dma.example"}
    for name in ("SITE_URL", "SITE_HOSTS", "ALLOWED_HOSTS"):
        setattr(settings, name, found[name])
    host = {"HTTP_HOST": "example.com:443", "secure": True}
    response = getattr(client, method)("/accounts/login/?next=/a/", **host)
    assert response.status_code == status
    assert response.headers["Location"] == f"{SITE}/accounts/login/?next=/a/"
    page = client.get("/accounts/login/", HTTP_HOST="www.example.com", secure=True)
    assert page.status_code == 200


def test_a_cookie_domain_and_the_prefix_are_refused_together(settings: Any) -> None:
    settings.SESSION_COOKIE_NAME, settings.SESSION_COOKIE_SECURE = "__Host-sessionid", True
    assert address.check_cookies() == []
    settings.SESSION_COOKIE_DOMAIN = ".example.test"
    (error,) = address.check_cookies()
    assert "__Host-sessionid" in error.msg and "SESSION_COOKIE_DOMAIN" in str(error.hint)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:////srv/db", {"CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True}),
        ("sqlite:////srv/db?conn_max_age=600&timeout=2", {"CONN_MAX_AGE": 600, "timeout": 2}),
        ("postgres://u@h/n?atomic_requests=True", {"ATOMIC_REQUESTS": True}),
        ("postgres://u@h/n", {"DISABLE_SERVER_SIDE_CURSORS": True, "connect_timeout": 3}),
        ("postgres://u@h/n?connect_timeout=9", {"connect_timeout": 9, "tcp_user_timeout": 5000}),
        ("postgres://u@h/n?conn_health_checks=off", {"CONN_HEALTH_CHECKS": False}),
        ("postgres://u@h/n?conn_max_age=None", {"CONN_MAX_AGE": None}),
        ("postgis://u@h/n?pool=on", {"CONN_MAX_AGE": 0, "pool": True, "connect_timeout": 3}),
    ],
)
def test_the_address_of_the_database(read: Any, url: str, expected: dict[str, Any]) -> None:
    database = read(DATABASE_URL=url)["DATABASES"]["default"]
    assert expected.items() <= (database | database["OPTIONS"]).items()
    assert "options" not in database["OPTIONS"], "PgBouncer refuses startup options"


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
def test_mail(url: str, expected: dict[str, Any]) -> None:
    env = Env()  # type: ignore[no-untyped-call]
    mailer = env.mailer("NO_VARIABLE", url)
    assert expected.items() <= mailer["OPTIONS"].items()
    assert ("accounts.mail" in mailer["BACKEND"]) is url.startswith("console")
