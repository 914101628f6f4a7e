"""`/healthz` and `/readyz`, as load balancers ask: by address, over plain HTTP."""

import asyncio
from typing import Any

import pytest
from django.test import AsyncClient, Client
from outlast import probes
from outlast.probes import Finding, Probe, Result, State


def result(name: str, state: State, required: bool) -> Result:
    return Result(
        Probe(name, lambda: None, required), Finding(state, "at 10.1.2.3", ("secret",)), 1.5
    )


@pytest.fixture
def states(monkeypatch: pytest.MonkeyPatch) -> dict[str, State]:
    """What the probes will find: change it."""
    found = {"database": State.OK, "redis": State.OK}
    monkeypatch.setattr(
        probes,
        "take_stock",
        lambda: [result(name, state, name == "database") for name, state in found.items()],
    )
    return found


@pytest.mark.parametrize("host", ["10.0.0.7:8000", "nobody.example", "a b"])
@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_any_host_and_plain_http(path: str, host: str, states: Any, settings: Any) -> None:
    settings.SECURE_SSL_REDIRECT = True
    answer = Client().get(path, headers={"host": host})
    assert answer.status_code == 200
    assert answer["Cache-Control"] == "no-store"


def test_other_pages_still_refuse_a_foreign_host(settings: Any) -> None:
    settings.SECURE_SSL_REDIRECT = False
    assert Client().get("/accounts/login/", headers={"host": "evil.example"}).status_code == 400


def test_alive_whatever_is_down(states: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "take_stock", lambda: pytest.fail("liveness asked a service"))
    assert Client().get("/healthz").content == b"ok\n"


@pytest.mark.parametrize(
    ("database", "redis", "path", "status"),
    [
        (State.OK, State.OK, "/readyz", 200),
        (State.OK, State.DOWN, "/readyz", 200),
        (State.OK, State.DOWN, "/readyz?strict", 503),
        (State.OK, State.WARNING, "/readyz?strict", 200),
        (State.WARNING, State.OK, "/readyz", 200),
        (State.DOWN, State.OK, "/readyz", 503),
    ],
)
def test_only_what_login_needs_decides(
    database: State, redis: State, path: str, status: int, states: Any, settings: Any
) -> None:
    states |= {"database": database, "redis": redis}
    answer = Client().get(path)
    assert answer.status_code == status
    assert answer.json() == {
        "ready": status == 200,
        "profile": settings.PROFILE,
        "backends": {
            "database": {"state": database, "milliseconds": 1.5},
            "redis": {"state": redis, "milliseconds": 1.5},
        },
    }


def test_under_asgi(states: Any) -> None:
    async def ask() -> list[Any]:
        client = AsyncClient()
        return [await client.get(path) for path in ("/healthz", "/readyz", "/")]

    alive, ready, page = asyncio.run(ask())
    assert (alive.status_code, ready.status_code) == (200, 200)
    assert page.status_code in (301, 302, 400), "other addresses go to the rest of the site"
