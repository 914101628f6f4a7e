"""A service of each profile broken: what the doctor and `/readyz` make of it.

tests/outlast/test_health*.py break Redis, Sentinels and clusters in all other ways.
"""

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from typing import Any, NamedTuple

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


class World(NamedTuple):
    """A running site and the servers it uses."""

    site: Site
    topology: Any


class Fault(NamedTuple):
    """Something that breaks, what repairs it, and what must be said of which service.

    `status`: what `/readyz` answers; 503 only if people cannot log in.
    """

    begin: Callable[[World], Any]
    end: Callable[[World], Any]
    service: str
    words: str
    remedy: str
    status: int


def execute(world: World, statement: str) -> None:
    with closing(sqlite3.connect(world.site.folder / "var" / "db.sqlite3")) as database:
        database.execute(statement)
        database.commit()


def rename(table: str, name: str) -> Callable[[World], None]:
    return lambda world: execute(world, f"ALTER TABLE {table} RENAME TO {name}")


def put_file_in_the_way(world: World) -> None:
    folder = world.site.folder / "var" / "sessions"
    folder.rename(folder.with_name("away"))
    folder.touch()


def take_it_away(world: World) -> None:
    folder = world.site.folder / "var" / "sessions"
    folder.unlink()
    folder.with_name("away").rename(folder)


def kill(world: World) -> None:
    for server in world.topology.servers:
        server.kill()


def start(world: World) -> None:
    for server in world.topology.servers:
        server.start(wait=False)
    world.topology.wait_ready()


TABLE = Fault(rename("accounts_user", "away"), rename("away", "accounts_user"),
              "database", "missing", "python manage.py migrate", 503)  # fmt: skip
FOLDER = Fault(put_file_in_the_way, take_it_away, "files", "cannot be written", "", 503)
REDIS = Fault(kill, start, "redis", "Nothing listens at", "devredis", 200)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    profile = str(metafunc.config.getoption("--profile"))
    if "fault" in metafunc.fixturenames:
        own = [FOLDER] if profile == "file" else [REDIS] if profile.startswith("redis") else []
        metafunc.parametrize("fault", [TABLE, *own], ids=lambda fault: fault.service)


@pytest.fixture(scope="module")
def world(profile: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A site of its own, so that no other test sees what is broken here."""
    needed = profile in module("config.profiles").SERVERS
    with servers(profile) if needed else nullcontext() as topology:
        variables = topology.environment() if topology else {}
        with Site(tmp_path_factory.mktemp("ill"), profile, variables).running() as site:
            yield World(site, topology)


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


def test_all_checks_pass(world: World, profile: str) -> None:
    code, found = examine(world.site)
    assert (code, {name for name, item in found.items() if item["state"] != "ok"}) == (0, set())
    assert world.site.manage("doctor").splitlines()[-1] == f"All {len(found)} checks passed."
    answer = ready(world.site, "?strict")
    assert answer.status_code == 200
    services = answer.json()["backends"]
    assert services.keys() == SERVICES.get(profile, {"database"})
    assert {item["state"] for item in services.values()} == {"ok"}


def test_a_fault_is_found_and_its_end_as_well(world: World, fault: Fault) -> None:
    fault.begin(world)
    try:
        code, found = examine(world.site)
        assert (code, found[fault.service]["state"]) == (1, "down")
        assert fault.words in found[fault.service]["text"]
        assert fault.remedy in " ".join(found[fault.service]["remedies"])
        # Answers may be a second old.
        wait_for(lambda: ready(world.site, "?strict").status_code == 503, "the fault")
        answer = ready(world.site)
        assert answer.json()["backends"][fault.service]["state"] == "down"
        assert answer.status_code == fault.status
        with world.site.browser() as browser:
            assert browser.get("/healthz").text == "ok\n"
    finally:
        fault.end(world)
    wait_for(lambda: ready(world.site, "?strict").status_code == 200, "its end")


def test_missing_migrations_are_reported(world: World, profile: str) -> None:
    """A migration was not applied, and on `database` the cache's table is missing."""
    rename("site_cache", "away")(world)
    execute(world, "DELETE FROM django_migrations WHERE app = 'outlast'")
    code, found = examine(world.site)
    rename("away", "site_cache")(world)
    assert code == 1
    if profile == "database":
        assert found["cache round trip"]["state"] == "down"
        assert found["cache round trip"]["remedies"] == ["Create them: python manage.py migrate"]
    assert found["migrations"]["state"] == "warning"
    assert found["migrations"]["remedies"] == ["Apply them: python manage.py migrate"]
    assert ready(world.site).status_code == 200, "people can still log in"
    world.site.manage("migrate", "--fake")
