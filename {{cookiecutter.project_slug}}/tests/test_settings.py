"""What `SITE_URL` decides, and what is refused in a sentence.

That `check --deploy` is content is proved from outside.
"""

import re
import runpy
from typing import Any

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.test import Client

from config import address


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
        "SECURE_HSTS_INCLUDE_SUBDOMAINS": False,
        "SECURE_HSTS_SECONDS": 3600,
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


@pytest.mark.any_profile
@pytest.mark.parametrize(
    ("url", "expected", "host"),
    [
        ("https://WWW.Example.com/", "https://www.example.com", "www.example.com"),
        ("HTTPS://www.example.com:443", "https://www.example.com", "www.example.com"),
        ("https://www.example.com.:8443//", "https://www.example.com:8443", "www.example.com"),
        ("https://Café.example", "https://xn--caf-dma.example", "xn--caf-dma.example"),
        ("https://[2001:DB8::1]:443", "https://[2001:db8::1]", "[2001:db8::1]"),
    ],
)
def test_an_address_has_one_spelling(
    monkeypatch: pytest.MonkeyPatch, url: str, expected: str, host: str
) -> None:
    found = read(monkeypatch, False, url)
    assert found["SITE_URL"] == expected
    assert found["CSRF_TRUSTED_ORIGINS"] == [expected]  # WebSockets and mails follow it as well
    assert found["ALLOWED_HOSTS"] == [host]


@pytest.mark.any_profile
@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("https://example.com/app", "SITE_URL has more than scheme, host and port"),
        ("https://example.com/?a", "SITE_URL has more than scheme, host and port"),
        ("https://ada:secret@example.com", "SITE_URL has more than scheme, host and port"),
        ("https://example.com:port", "SITE_URL is"),
        ("https://exa mple.com", "SITE_URL is"),
        ("https://straße.example", "SITE_URL is"),
        (f"https://{'ä' * 70}.example", "SITE_URL is"),
    ],
)
def test_what_is_no_address_is_refused(
    monkeypatch: pytest.MonkeyPatch, url: str, sentence: str
) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"^{sentence}.*must be") as refused:
        read(monkeypatch, False, url)
    assert "secret" not in str(refused.value)


@pytest.mark.any_profile
def test_further_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SITE_HOSTS", "Example.com,www.example.com,café.example")
    found = read(monkeypatch, False, "https://www.example.com")
    assert found["SITE_HOSTS"] == {"example.com", "xn--caf-dma.example"}
    assert set(found["ALLOWED_HOSTS"]) == {"www.example.com", *found["SITE_HOSTS"]}


@pytest.mark.any_profile
@pytest.mark.parametrize(("method", "status"), [("get", 301), ("post", 308)])
def test_further_names_are_redirected(
    client: Client, settings: Any, method: str, status: int
) -> None:
    settings.SITE_URL, settings.SITE_HOSTS = "https://www.example.com", {"example.com"}
    settings.ALLOWED_HOSTS = ["www.example.com", "example.com"]
    host = {"HTTP_HOST": "example.com:443", "secure": True}
    response = getattr(client, method)("/accounts/login/?next=/a/", **host)
    assert response.status_code == status
    assert response.headers["Location"] == "https://www.example.com/accounts/login/?next=/a/"
    page = client.get("/accounts/login/", HTTP_HOST="www.example.com", secure=True)
    assert page.status_code == 200


@pytest.mark.any_profile
def test_a_cookie_domain_and_the_prefix_are_refused_together(settings: Any) -> None:
    settings.SESSION_COOKIE_NAME, settings.SESSION_COOKIE_SECURE = "__Host-sessionid", True
    assert address.check_cookies() == []
    settings.SESSION_COOKIE_DOMAIN = ".example.test"
    (error,) = address.check_cookies()
    assert "__Host-sessionid" in error.msg and "SESSION_COOKIE_DOMAIN" in str(error.hint)


@pytest.mark.any_profile
@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("SITE_HOSTS", "example.com/app", "SITE_HOSTS has more than scheme, host and port"),
        ("PAGE_THREADS", "3s", "PAGE_THREADS is '3s', but must be a whole number"),
        ("DATABASE_URL", "nonsense", "DATABASE_URL cannot be read"),
        ("DATABASE_URL", "foo://user:secret@host/name", "DATABASE_URL cannot be read"),
        ("DATABASE_URL", "postgres://user:secret/3@host/name", "DATABASE_URL cannot be read"),
        ("DATABASE_URL_FILE", "/not/there", "DATABASE_URL_FILE names /not/there, which cannot"),
        ("DJANGO_SECRET_KEY", "", "DJANGO_SECRET_KEY is not set"),
        ("DJANGO_DEBUG", "tru", "DJANGO_DEBUG is 'tru', but must be 1 or 0"),
        ("SECURE_HSTS_INCLUDE_SUBDOMAINS", "?", "SECURE_HSTS_INCLUDE_SUBDOMAINS is '?', but"),
        ("EMAIL_URL", "user:secret@mail.example", "EMAIL_URL cannot be read"),
        ("EMAIL_URL", "smtp://user:secret/3@mail.example", "EMAIL_URL cannot be read"),
        ("SESSION_IDLE_SECONDS", "1h", "SESSION_IDLE_SECONDS is '1h', but must be a whole"),
    ],
)
def test_what_cannot_be_read_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv("DJANGO_DEBUG", "0")
    monkeypatch.setenv("SITE_URL", "https://www.example.com")
    monkeypatch.setenv(variable, value)
    with pytest.raises(ImproperlyConfigured, match=f"^{re.escape(sentence)}") as refused:
        runpy.run_path(str(settings.BASE_DIR / "config" / "settings.py"))
    assert "secret" not in str(refused.value)


@pytest.mark.any_profile
def test_postgresql_without_its_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://user:secret@127.0.0.1/name")
    monkeypatch.setattr("config.environment.find_spec", {}.get)
    with pytest.raises(ImproperlyConfigured, match=r"needs the package psycopg: run .*psycopg"):
        read(monkeypatch, False, "https://www.example.com")


@pytest.mark.any_profile
def test_files_named_in_messages_are_there() -> None:
    folders = ("accounts", "config", "vendor")
    sources = [path for folder in folders for path in settings.BASE_DIR.glob(f"{folder}/**/*.py")]
    text = "\n".join(path.read_text("utf-8") for path in sources)
    named = set(re.findall(r"\b(?:deploy|docs)/[\w-]+\.\w+", text))
    assert named
    assert {name for name in named if not (settings.BASE_DIR / name).is_file()} == set()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:////srv/db", {"CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True}),
        ("sqlite:////srv/db?conn_max_age=600", {"CONN_MAX_AGE": 600}),
        ("sqlite:////srv/db?atomic_requests=true", {"ATOMIC_REQUESTS": True}),
        ("postgres://u@h/n?conn_max_age=600", {"CONN_MAX_AGE": 600}),
        ("postgres://u@h/n?conn_health_checks=false", {"CONN_HEALTH_CHECKS": False}),
        ("postgres://u@h/n", {"DISABLE_SERVER_SIDE_CURSORS": True}),
        (
            "postgres://u@h/n?disable_server_side_cursors=false",
            {"DISABLE_SERVER_SIDE_CURSORS": False},
        ),
    ],
)
def test_the_address_of_the_database_takes_djangos_settings(
    url: str, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setattr("config.environment.find_spec", bool)  # as if psycopg were installed
    database = read(monkeypatch, True, "http://localhost:8000")["DATABASES"]["default"]
    assert database["ENGINE"].startswith("django.db.backends.")
    assert expected.items() <= database.items()


def test_the_address_of_the_database_takes_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("config.environment.find_spec", bool)  # as if psycopg were installed
    monkeypatch.setenv("DATABASE_URL", "postgres://u@h/n?connect_timeout=9&sslmode=require")
    options = read(monkeypatch, True, "http://localhost:8000")["DATABASES"]["default"]["OPTIONS"]
    assert (options["connect_timeout"], options["sslmode"]) == (9, "require")
    assert "options" not in options, "PgBouncer refuses startup options"
    monkeypatch.setenv("DATABASE_URL", "sqlite:////srv/db?timeout=2")
    options = read(monkeypatch, True, "http://localhost:8000")["DATABASES"]["default"]["OPTIONS"]
    assert options["timeout"] == 2
    assert "WAL" in options["init_command"]
