"""Readiness and the doctor: what they answer, and that nothing can delay them."""

import asyncio
import json
import os
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.cache.backends.dummy import DummyCache
from django.core.management import call_command
from django.test import AsyncClient, Client
from django.utils import timezone
from outlast import health
from outlast.health import probes, runner
from outlast.health.runner import Concern, Finding, Probe, Problem, State, run_probes
from outlast.models import Session


def result(name: str, state: State, text: str = "at 10.1.2.3", *remedies: str) -> Finding:
    return Finding(name, state, text, remedies, 1.5)


def fail() -> str:
    raise RuntimeError("The cellar is flooded.")


@pytest.fixture(autouse=True)
def no_old_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_runs", {})


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
    """What the probes find; empty to begin with."""
    found: list[Finding] = []
    monkeypatch.setattr(health, "readiness", lambda: list(found))
    monkeypatch.setattr(health, "run_diagnostics", lambda: list(found))
    return found


@pytest.fixture
def client(settings: Any) -> Client:
    settings.MIDDLEWARE = ["outlast.health.health", *settings.MIDDLEWARE]
    settings.SECURE_SSL_REDIRECT = True
    return Client()


# --- Asking ---


def test_one_that_hangs_delays_no_other_and_is_asked_once() -> None:
    asked: list[int] = []
    release = threading.Event()

    def hang() -> str:
        asked.append(1)
        release.wait(10)
        return "dry"

    both = [Probe("cellar", hang), Probe("roof", lambda: "dry")]
    started = time.monotonic()
    cellar, roof = run_probes(both, 0.3)
    assert (cellar.state, roof.state) == (State.DOWN, State.OK)
    assert cellar.text == "No answer within 0.3 s: it hangs, or is overloaded."
    again = [run_probes(both, 0.3)[0].state for _ in range(20)]
    assert time.monotonic() - started < 3, "an open question is not waited for again"
    assert (set(again), asked) == ({State.DOWN}, [1])
    release.set()


def test_an_answer_is_fresh_for_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    probe = Probe("roof", lambda: asked.append(1) or "dry")
    assert [run_probes([probe], 5)[0].state for _ in range(5)] == [State.OK] * 5
    assert len(asked) == 1
    monkeypatch.setattr(runner, "FRESH_SECONDS", 0)
    run_probes([probe], 5)
    assert len(asked) == 2


def test_an_error_is_explained_and_what_needs_the_service_is_skipped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health, "services", lambda seconds: [Probe("cellar", fail)])
    closer = [Probe("wine", lambda: "dry", needs="cellar"), Probe("roof", lambda: "dry")]
    monkeypatch.setattr(health, "diagnostics", lambda: closer)
    found = health.run_diagnostics(5)
    states = {each.name: each.state for each in found}
    assert states == {"cellar": State.DOWN, "roof": State.OK, "wine": State.SKIPPED}
    assert found[0].text == "RuntimeError: The cellar is flooded."
    assert health.summary_line().endswith("flooded. Run: python manage.py doctor")


# --- /healthz and /readyz ---


@pytest.mark.parametrize("host", ["10.0.0.7:8000", "missing.example", "a b"])
@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_any_host_and_plain_http(
    path: str, host: str, client: Client, results: list[Finding]
) -> None:
    results += [result("database", State.OK)]
    answer = client.get(path, headers={"host": host})
    assert answer.status_code == 200
    assert answer["Cache-Control"] == "no-store"
    assert client.get("/", headers={"host": host}).status_code in (301, 400)


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
    database: State, redis: State, path: str, status: int, client: Client, results: Any
) -> None:
    results += [result("database", database), result("redis", redis)]
    answer = client.get(path)
    assert answer.status_code == status
    assert answer.json() == {
        "ready": status == 200,
        "profile": "",
        "backends": {
            "database": {"state": database, "milliseconds": 1.5},
            "redis": {"state": redis, "milliseconds": 1.5},
        },
    }


def test_liveness_asks_no_service(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "readiness", lambda: pytest.fail("it asked a service"))
    assert client.get("/healthz").content == b"ok\n"

    async def ask_under_asgi() -> Any:
        return await AsyncClient().get("/healthz")

    assert asyncio.run(ask_under_asgi()).content == b"ok\n"


# --- The doctor ---


def test_the_worst_comes_first_with_its_remedies(results: list[Finding], capsys: Any) -> None:
    results += [result("roof", State.OK, "dry")]
    call_command("doctor", no_color=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["ok    roof      1.5 ms  dry", "All 1 checks passed."]
    results += [
        result("wine", State.SKIPPED, "Skipped."),
        result("chimney", State.WARNING, "Smokes.", "sweep it", "or not"),
        result("cellar", State.DOWN, "Flooded.", "pump"),
    ]
    with pytest.raises(SystemExit) as end:
        call_command("doctor", no_color=True)
    assert end.value.code == 1
    assert capsys.readouterr().out.splitlines() == [
        "DOWN  cellar       1.5 ms  Flooded.",
        "      > pump",
        "warn  chimney      1.5 ms  Smokes.",
        "      > sweep it",
        "      > or not",
        "skip  wine         1.5 ms  Skipped.",
        "ok    roof         1.5 ms  dry",
        "2 of 4 checks failed.",
    ]


def test_json(results: list[Finding], capsys: Any, settings: Any) -> None:
    settings.OUTLAST = {"PROFILE": "house"}
    results += [result("roof", State.OK), result("chimney", State.WARNING, "Smokes.", "sweep it")]
    with pytest.raises(SystemExit):
        call_command("doctor", json=True)
    answer = json.loads(capsys.readouterr().out)
    assert (answer["profile"], answer["healthy"]) == ("house", False)
    assert answer["answers"][0] == {
        "name": "chimney",
        "state": "warning",
        "milliseconds": 1.5,
        "text": "Smokes.",
        "remedies": ["sweep it"],
    }


# --- Probes ---


@pytest.mark.django_db(transaction=True)
def test_a_stock_project_without_redis_is_healthy(settings: Any) -> None:
    settings.DEBUG = True  # the checks of --deploy have much to say about a stock project
    found = {each.name: (each.state, each.text) for each in health.run_diagnostics()}
    assert {state for state, _ in found.values()} == {State.OK}, found
    assert len(found) == 8


@pytest.mark.django_db
def test_expired_sessions_that_are_not_cleared(monkeypatch: pytest.MonkeyPatch) -> None:
    for number, days in enumerate((-30, -30, 1)):
        expires = timezone.now() + timedelta(days=days)
        Session.objects.create(session_key=f"k{number}", expire_date=expires)
    assert probes.session_rows() == "1 open, 2 expired"
    monkeypatch.setattr(probes, "EXPIRED_ROWS", 1)
    with pytest.raises(Concern, match="expired sessions are not deleted") as error:
        probes.session_rows()
    assert "manage.py clearsessions" in error.value.remedies[0]


def test_system_checks_are_part_of_the_doctor(settings: Any) -> None:
    settings.DEBUG = True
    settings.OUTLAST = {"SESSION_IDLE_SECOND": 1}
    with pytest.raises(Problem, match=r"OUTLAST has no setting SESSION_IDLE_SECOND\.") as error:
        probes.system_checks()
    assert error.value.state is State.DOWN
    assert error.value.remedies == ("Did you mean SESSION_IDLE_SECONDS?",)


@pytest.mark.skipif(os.name != "posix", reason="Windows has other permissions")
def test_folders(settings: Any, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    backend = "django.core.cache.backends.filebased.FileBasedCache"
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": folder}}
    assert [probe.name for probe in health.services(1)] == ["database", "files"]
    assert probes.files() == "writable and private: cache"
    folder.chmod(0o755)
    with pytest.raises(Concern) as error:
        probes.files()
    assert error.value.remedies == (f"chmod 700 {folder}",)
    folder.rmdir()
    folder.touch()
    (found,) = run_probes([Probe("files", probes.files)], 5)
    assert (found.state, "cannot be written" in found.text) == (State.DOWN, True)


def test_a_cache_that_forgets(settings: Any) -> None:
    settings.CACHES = {"default": {"BACKEND": f"{__name__}.ForgetfulCache"}}
    with pytest.raises(Problem, match="An entry that was just written is missing"):
        probes.cache_round_trip()


class ForgetfulCache(DummyCache):
    """Keeps nothing, and is not called so."""
