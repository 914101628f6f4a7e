"""What the doctor and `/readyz` report while a service of the profile is broken.

tests/outlast/test_health*.py break Redis, Sentinels and clusters in all other ways.
"""

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from typing import Any

import httpx2
import pytest

from proof.conftest import module, servers
from proof.site import Site, wait_for

pytestmark = pytest.mark.slow

SERVICES = {
    "file": {"database", "files"},
    "redis": {"database", "redis"},
    "redis-cluster": {"database", "redis"},
    "redis-sentinel": {"database", "redis", "sentinel 1", "sentinel 2", "sentinel 3"},
}
DOCTOR_SECONDS = 20  # two rounds of five, and Django's start on a busy machine
READY_SECONDS = 4  # one, and as much again


@pytest.fixture(scope="module")
def own(profile: str) -> Iterator[Any]:
    """Servers of the profile that no other test uses, or None where it needs none."""
    needed = profile in module("config.profiles").SERVERS
    with servers(profile) if needed else nullcontext() as topology:
        yield topology


@pytest.fixture(scope="module")
def site(own: Any, profile: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    variables = own.environment() if own else {}
    with Site(tmp_path_factory.mktemp("ill"), profile, variables).running() as site:
        yield site


def execute(site: Site, *statements: str) -> None:
    with closing(sqlite3.connect(site.folder / "var" / "db.sqlite3")) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()


@contextmanager
def fault(site: Site, own: Any) -> Iterator[tuple[str, str, str, int]]:
    """Break what is particular to the profile, and repair it at the end.

    Yield the service, words and a remedy of the doctor, and what `/readyz` answers: 503 only if
    people cannot log in.
    """
    sessions = site.folder / "var" / "sessions"
    if own:
        for server in own.servers:
            server.kill()
        yield "redis", "Nothing listens at", "devredis", 200
        for server in own.servers:
            server.start(wait=False)
        own.wait_ready()
    elif site.variables["DJANGO_PROFILE"] == "file":
        sessions.rename(sessions.with_name("away"))
        sessions.touch()
        yield "files", "cannot be written", "", 503
        sessions.unlink()
        sessions.with_name("away").rename(sessions)
    else:
        execute(site, "ALTER TABLE accounts_user RENAME TO away")
        yield "database", "missing", "python manage.py migrate", 503
        execute(site, "ALTER TABLE away RENAME TO accounts_user")


def examine(site: Site) -> tuple[int, dict[str, dict[str, Any]]]:
    """Run the doctor: its exit code, and what it says of each service."""
    started = time.monotonic()
    done = site.run("doctor", "--json")
    assert time.monotonic() - started < DOCTOR_SECONDS
    answer = json.loads(done.stdout)
    assert answer["healthy"] == (done.returncode == 0), done.stderr
    return done.returncode, {item["name"]: item for item in answer["answers"]}


def ready(site: Site, query: str = "") -> httpx2.Response:
    """Ask as a load balancer does: of no site in particular."""
    with site.browser() as browser:
        return browser.get(f"/readyz{query}", headers={"Host": "10.0.0.1"}, timeout=READY_SECONDS)


def test_all_checks_pass(site: Site, profile: str) -> None:
    code, found = examine(site)
    assert (code, {name for name, item in found.items() if item["state"] != "ok"}) == (0, set())
    assert site.manage("doctor").splitlines()[-1] == f"All {len(found)} checks passed."
    answer = ready(site, "?strict")
    assert answer.status_code == 200
    services = answer.json()["backends"]
    assert services.keys() == SERVICES.get(profile, {"database"})
    assert {item["state"] for item in services.values()} == {"ok"}


def test_a_fault_is_found_and_its_end_as_well(site: Site, own: Any) -> None:
    with fault(site, own) as (service, words, remedy, status):
        code, found = examine(site)
        assert (code, found[service]["state"]) == (1, "down")
        assert words in found[service]["text"]
        assert remedy in " ".join(found[service]["remedies"])
        # Answers may be a second old.
        wait_for(lambda: ready(site, "?strict").status_code == 503, "the fault")
        answer = ready(site)
        assert answer.json()["backends"][service]["state"] == "down"
        assert answer.status_code == status
        with site.browser() as browser:
            assert browser.get("/healthz").text == "ok\n"
    wait_for(lambda: ready(site, "?strict").status_code == 200, "its end")


def test_missing_migrations_are_reported(site: Site, profile: str) -> None:
    """A migration was not applied, and on `database` the cache's table is missing."""
    execute(site, "ALTER TABLE site_cache RENAME TO away",
            "DELETE FROM django_migrations WHERE app = 'outlast'")  # fmt: skip
    code, found = examine(site)
    execute(site, "ALTER TABLE away RENAME TO site_cache")
    assert code == 1
    if profile == "database":
        assert found["cache round trip"]["state"] == "down"
        assert found["cache round trip"]["remedies"] == ["Create them: python manage.py migrate"]
    assert found["migrations"]["state"] == "warning"
    assert found["migrations"]["remedies"] == ["Apply them: python manage.py migrate"]
    assert ready(site).status_code == 200, "people can still log in"
    site.manage("migrate", "--fake")
