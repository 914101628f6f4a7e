"""How a site reads its own address and its database's, and errors in one sentence."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from outlast import environment, hosts

SITE = "https://www.example.com"
MORE = "SITE_URL has more than scheme, host and port"


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
def test_an_address_has_one_spelling(url: str, expected: str, host: str) -> None:
    assert hosts.normalise("SITE_URL", url) == (expected, host)


@pytest.fixture
def databases_at(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A function that returns the databases of an address, as if psycopg were installed."""
    monkeypatch.setattr(environment, "find_spec", bool)

    def load(url: str) -> Any:
        variables = {"DATABASE_URL": url}

        class Alone(environment.Env):
            ENVIRON: dict[str, Any] = variables

        return Alone().databases("")

    return load


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:////srv/db", {"CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True}),
        (
            "sqlite:////srv/db?conn_max_age=600&timeout=2",
            {"CONN_MAX_AGE": 600, "timeout": 2}
            | {"init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"},
        ),
        ("postgres://u@h/n?atomic_requests=True", {"ATOMIC_REQUESTS": True}),
        ("postgres://u@h/n", {"DISABLE_SERVER_SIDE_CURSORS": True, "connect_timeout": 3}),
        ("postgres://u@h/n?connect_timeout=9", {"connect_timeout": 9, "tcp_user_timeout": 5000}),
        ("postgres://u@h/n?conn_health_checks=off", {"CONN_HEALTH_CHECKS": False}),
        ("postgres://u@h/n?conn_max_age=None", {"CONN_MAX_AGE": None}),
        ("postgres://u@%2Frun%2FPG/n", {"HOST": "/run/PG", "NAME": "n"}),
        ("postgis://u@h/n?pool=on", {"CONN_MAX_AGE": 0, "pool": True, "connect_timeout": 3}),
    ],
)
def test_the_address_of_the_database(
    databases_at: Callable[..., Any], url: str, expected: dict[str, Any]
) -> None:
    database = databases_at(url)["default"]
    assert expected.items() <= (database | database["OPTIONS"]).items()
    assert "options" not in database["OPTIONS"], "PgBouncer refuses startup options"


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("SITE_URL", "http://www.example.com", "SITE_URL is"),
        ("SITE_URL", "https://example.com/app", MORE),
        ("SITE_URL", "https://ada:secret@example.com", MORE),
        ("SITE_URL", "https://example.com:port", "SITE_URL is"),
        ("SITE_URL", "https://straße.example", "SITE_URL is"),
        ("SITE_URL", f"https://{'ä' * 70}.example", "SITE_URL is"),
        ("DATABASE_URL", "postgres://user:secret/3@host/name", "DATABASE_URL cannot be read"),
        ("DATABASE_URL", "postgres://user:p@secret#w/rd@host/name", "DATABASE_URL cannot be read"),
        ("DATABASE_URL", "postgres://user:secret@host/", "DATABASE_URL cannot be read"),
        ("DATABASE_URL", "postgres://u@h/n?conn_max_age=abc", "DATABASE_URL has conn_max_age=abc"),
        ("DATABASE_URL", "sqlite:////srv/db?conn_max_age=True", "DATABASE_URL has conn_max_age="),
        ("DATABASE_URL", "postgres://u@h/n?pool=big", "DATABASE_URL has pool=big"),
    ],
)
def test_errors_name_the_variable(
    databases_at: Callable[..., Any], variable: str, value: str, sentence: str
) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"^{re.escape(sentence)}") as refused:
        if variable == "SITE_URL":
            hosts.normalise(variable, value)
        else:
            databases_at(value)
    assert "secret" not in str(refused.value)


def test_postgresql_needs_its_package(
    databases_at: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "find_spec", {}.get)
    with pytest.raises(ImproperlyConfigured, match=r"needs the package psycopg: run .*psycopg"):
        databases_at("postgres://user:secret@127.0.0.1/name")
