"""Every service of a profile broken in turn: what the doctor and `/readyz` make of it."""

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from typing import Any, NamedTuple

import httpx2
import pytest

from proof.conftest import module, servers
from proof.site import Site

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
    """Something that breaks, where, what repairs it, and what must be said of it.

    `needed`: whether it keeps people from logging in, so that `/readyz` says 503.
    """

    profiles: str
    begin: Callable[[World], Any]
    end: Callable[[World], Any]
    service: str
    words: str
    remedy: str
    needed: bool = False


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


def kill_shard(world: World) -> None:
    """Kill a primary and its replica, which the others notice within two seconds."""
    for server in world.topology.servers[::3]:
        server.kill()
    witness = world.topology.servers[1]

    def is_noticed() -> bool:
        with witness.client() as client:
            return bool(client.cluster("info")["cluster_state"] == "fail")

    module("outlast.servers").wait_until(is_noticed, "the cluster to notice")


def each(of: str, do: str) -> Callable[[World], None]:
    """Return a function that does something to all servers or Sentinels."""

    def act(world: World) -> None:
        for server in getattr(world.topology, of):
            getattr(server, do)()

    return act


def start_nodes(world: World) -> None:
    for server in world.topology.servers:
        if not server.running:
            server.start(wait=False)
    world.topology.wait_ready()


FAULTS = {
    "missing table": Fault(
        "database file dummy redis redis-sentinel redis-cluster",
        rename("accounts_user", "away"), rename("away", "accounts_user"),
        "database", "missing", "python manage.py migrate", needed=True,
    ),
    "folder": Fault("file", put_file_in_the_way, take_it_away,
                    "files", "cannot be written", "", needed=True),
    "stopped": Fault("redis", each("servers", "kill"), each("servers", "start"),
                     "redis", "Nothing listens at 127.0.0.1:", "DJANGO_PROFILE=database"),
    "hung": Fault("redis", each("servers", "pause"), each("servers", "resume"),
                  "redis", "does not answer", "SLOWLOG"),
    "one sentinel": Fault(
        "redis-sentinel", lambda world: world.topology.sentinels[0].kill(),
        lambda world: world.topology.sentinels[0].start(),
        "sentinel 1", "Nothing listens", "devredis",
    ),
    "sentinels": Fault("redis-sentinel", each("sentinels", "pause"), each("sentinels", "resume"),
                       "redis", "None of the 3 Sentinels", "Sentinels"),
    "shard": Fault("redis-cluster", kill_shard, start_nodes,
                   "redis", "; lost: 127.0.0.1:", "Start the lost"),
    "nodes": Fault("redis-cluster", each("servers", "kill"), start_nodes,
                   "redis", "Nothing listens at", "devredis"),
}  # fmt: skip


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    profile = metafunc.config.getoption("--profile")
    if "fault" in metafunc.fixturenames:
        here = {name: fault for name, fault in FAULTS.items() if profile in fault.profiles.split()}
        metafunc.parametrize("fault", here.values(), ids=here.keys())


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


def ready(site: Site, strict: bool = False) -> httpx2.Response:
    """Ask as a load balancer does: of no site in particular."""
    with site.browser() as browser:
        started = time.monotonic()
        answer = browser.get(
            "/readyz?strict" if strict else "/readyz", headers={"Host": "10.0.0.1"}
        )
        assert time.monotonic() - started < READY_SECONDS
    return answer


def wait_for(site: Site, status: int) -> None:
    """Return once `/readyz?strict` answers with `status`; its answers may be a second old."""
    deadline = time.monotonic() + 15
    while ready(site, strict=True).status_code != status:
        assert time.monotonic() < deadline, f"/readyz never says {status}"
        time.sleep(0.2)


def test_all_checks_pass(world: World, profile: str) -> None:
    code, found = examine(world.site)
    assert (code, {name for name, item in found.items() if item["state"] != "ok"}) == (0, set())
    assert world.site.manage("doctor").splitlines()[-1] == f"All {len(found)} checks passed."
    answer = ready(world.site, strict=True)
    assert answer.status_code == 200
    services = answer.json()["backends"]
    assert services.keys() == SERVICES.get(profile, {"database"})
    assert {item["state"] for item in services.values()} == {"ok"}
    assert all(0 < item["milliseconds"] < 1000 for item in services.values())


def test_a_fault_is_found_and_its_end_as_well(world: World, fault: Fault) -> None:
    fault.begin(world)
    try:
        code, found = examine(world.site)
        assert code == 1
        assert found[fault.service]["state"] == "down"
        assert fault.words in found[fault.service]["text"]
        assert fault.remedy in " ".join(found[fault.service]["remedies"])
        wait_for(world.site, 503)
        answer = ready(world.site)
        assert answer.json()["backends"][fault.service]["state"] == "down"
        assert answer.status_code == (503 if fault.needed else 200)
        with world.site.browser() as browser:
            assert browser.get("/healthz").text == "ok\n"
    finally:
        fault.end(world)
    wait_for(world.site, 200)


def test_a_cache_table_that_is_missing(world: World, profile: str) -> None:
    if profile != "database":
        return
    rename("site_cache", "away")(world)
    code, found = examine(world.site)
    rename("away", "site_cache")(world)
    assert code == 1
    assert found["cache round trip"]["state"] == "down"
    assert found["cache round trip"]["remedies"] == ["Create them: python manage.py migrate"]
    assert ready(world.site).status_code == 200, "people can still log in"


def test_a_migration_that_nobody_applied(world: World) -> None:
    execute(world, "DELETE FROM django_migrations WHERE app = 'outlast'")
    code, found = examine(world.site)
    assert (code, found["migrations"]["state"]) == (1, "warning")
    assert found["migrations"]["remedies"] == ["Apply them: python manage.py migrate"]
    assert ready(world.site).status_code == 200
    world.site.manage("migrate", "--fake")


def test_no_password_is_shown(world: World) -> None:
    key = world.site.variables["DJANGO_SECRET_KEY"]
    world.site.variables["DATABASE_URL"] = "postgres://ada:s3cretw0rd@127.0.0.1:1/x"
    try:
        done = world.site.run("doctor")
    finally:
        del world.site.variables["DATABASE_URL"]
    assert done.returncode == 1
    assert "Nothing listens at 127.0.0.1:1/x" in done.stdout
    assert "s3cretw0rd" not in done.stdout + done.stderr
    assert key not in done.stdout + done.stderr
