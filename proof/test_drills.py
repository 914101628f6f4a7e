"""The drills of docs/operations.md, followed word by word on real servers.

Each ```sh block is given to the shell as it stands, but for ports and the name of the
Python; each ```text block after it is what must have been printed, … being anything.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest
from redis import Redis, RedisError

from proof.conftest import module, servers
from proof.postgres import Postgres, find_postgres
from proof.site import Site


class Drill:
    """A section of docs/operations.md, and the shell in which it is followed."""

    def __init__(self, site: Site, title: str, ports: dict[str, int], path: str = "") -> None:
        page = (site.folder / "docs" / "operations.md").read_text("utf-8")
        text = re.split(r"\n#{2,3} ", page.partition(f"# {title}\n")[2])[0]
        assert "```sh" in text, f"docs/operations.md has no drill called {title}"
        self.steps = re.findall(r"```(sh|text)\n(.*?)```", text, re.DOTALL)
        self.site, self.ports = site, {name: str(port) for name, port in ports.items()}
        python = str(Path(sys.executable).parent)
        self.path = os.pathsep.join(filter(None, [python, path, os.environ["PATH"]]))

    def follow(self, until: int | None = None) -> None:
        """Do the next steps: those up to the sh block numbered `until`, or all."""
        said = ""
        while self.steps and (until is None or until > 0 or self.steps[0][0] == "text"):
            kind, block = self.steps.pop(0)
            if kind == "text":
                self.expect(block, said)
                continue
            until = until and until - 1
            done = subprocess.run(
                ["sh", "-c", self.here(block)],
                cwd=self.site.folder,
                env=self.site.environment | {"PATH": self.path},
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True, timeout=120, check=False,
            )  # fmt: skip
            said = done.stdout
            print(block, said)

    def here(self, text: str) -> str:
        return re.sub(r"\b\d{4,5}\b", lambda number: self.ports.get(number[0], number[0]), text)

    def expect(self, block: str, said: str) -> None:
        for line in self.here(block).splitlines():
            pattern = ".*".join(map(re.escape, line.split("…")))
            assert re.search(f"^{pattern}$", said, re.MULTILINE), f"{line!r} is not in:\n{said}"


def need(*commands: str) -> None:
    if missing := [command for command in commands if not shutil.which(command)]:
        pytest.skip(f"NOT PROVED: this machine has no {' and no '.join(missing)}")


@pytest.fixture(scope="module")
def sentinel_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Any]]:
    need("redis-cli")
    with servers("redis-sentinel") as topology:
        folder = tmp_path_factory.mktemp("drill")
        yield Site(folder, "redis-sentinel", topology.environment()), topology


def test_failover(sentinel_site: tuple[Site, Any]) -> None:
    site, topology = sentinel_site
    ports = {"26379": topology.sentinels[0].port, "6379": topology.primary.port}
    drill = Drill(site, "Failover drill", ports)
    with site.running(), site.browser() as ada:
        ada.log_in()
        drill.follow(3)
        assert ada.logged_in
        drill.follow(2)
        assert ada.logged_in
        with site.browser() as newcomer:
            newcomer.log_in()
            assert newcomer.logged_in
        (crashed,) = [server for server in topology.servers if not is_up(server)]
        crashed.start()
        drill.follow()
        assert ada.logged_in
    assert not drill.steps


def is_up(server: Any) -> bool:
    with server.client() as client:
        try:
            return bool(client.ping())
        except Exception:
            return False


def test_redis_backup(tmp_path_factory: pytest.TempPathFactory) -> None:
    need("redis-cli", "redis-server")
    harness = module("outlast.servers")
    with harness.Topology() as topology, harness.Topology() as other:
        port = other.primary.port
        other.primary.close()
        site = Site(tmp_path_factory.mktemp("drill"), "database", {})
        with topology.primary.client() as client:
            client.set("mine", "precious")
        ports = {"6379": topology.primary.port, "6390": port}
        Drill(site, "Redis, if you store other data in it", ports).follow()
        restored = Redis("127.0.0.1", port, decode_responses=True)
        with restored:
            deadline = time.monotonic() + 10
            while True:
                try:
                    assert restored.get("mine") == "precious"
                    break
                except RedisError:
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
            restored.shutdown(nosave=True)


def test_sqlite_backup(tmp_path_factory: pytest.TempPathFactory) -> None:
    site = Site(tmp_path_factory.mktemp("drill"), "database", {})
    Drill(site, "Backup drill, SQLite", {}).follow()
    site.variables["DATABASE_URL"] = "sqlite:///var/backup.sqlite3"
    with site.running(), site.browser() as ada:
        ada.log_in()
        assert ada.logged_in


# --- PostgreSQL ---


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    if not find_postgres():
        pytest.skip("NOT PROVED: this machine has no PostgreSQL (apt install postgresql)")
    with Postgres() as server:
        yield server


@pytest.fixture(scope="module")
def site(server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("drill"), "database", {"DATABASE_URL": server.url()})


def listed(site: Site, heading: str) -> str:
    """Return the error text that docs/troubleshooting.md lists under a heading."""
    page = (site.folder / "docs" / "troubleshooting.md").read_text("utf-8")
    section = page.partition("\n## Database\n")[2]
    return section.partition(f"### {heading}\n\n```\n")[2].partition("\n```")[0]


def test_postgresql_backup(site: Site, server: Postgres) -> None:
    drill = Drill(site, "Backup drill, PostgreSQL", {}, str(find_postgres()))
    with site.running(), site.browser() as ada:
        ada.log_in()
        assert ada.logged_in
        drill.follow(1)
    site.variables["DATABASE_URL"] = server.url().rpartition("/")[0] + "/restored"
    with site.running(), site.browser() as ada:
        ada.log_in()
        assert ada.logged_in, "the restored account does not open"
        drill.follow()
        assert not ada.logged_in, "everybody was to be logged out"
    site.variables["DATABASE_URL"] = server.url()


def examine(site: Site) -> str:
    started = time.monotonic()
    done = site.run("doctor")
    assert time.monotonic() - started < 20
    return done.stdout


def wait_for(site: Site, status: int) -> dict[str, Any]:
    """Wait until `/readyz` answers with `status`, and return what it says of the database."""
    deadline = time.monotonic() + 20
    with site.browser() as browser:
        while (answer := browser.get("/readyz")).status_code != status:
            assert time.monotonic() < deadline, f"/readyz never says {status}"
            time.sleep(0.3)
    return dict(answer.json()["backends"]["database"])


def test_doctor_and_readiness_without_postgresql(site: Site, server: Postgres) -> None:
    assert "All " in examine(site)
    with site.running():
        assert wait_for(site, 200)["state"] == "ok"
        server.pause()
        assert wait_for(site, 503)["state"] == "down"
        said = examine(site)
        assert "DOWN  database" in said and "did not answer in time" in said
        server.resume()
        assert wait_for(site, 200)["state"] == "ok"
        server.stop()
        assert wait_for(site, 503)["state"] == "down"
        assert "DOWN  database" in (said := examine(site))
        assert f"Nothing listens at 127.0.0.1:{server.port}/postgres: PostgreSQL is not" in said
        server.start()
        assert wait_for(site, 200)["state"] == "ok"


def test_exhausted_connections_are_reported(site: Site, server: Postgres) -> None:
    with site.running(), site.browser() as ada, ExitStack() as stack:
        wait_for(site, 200)
        ada.log_in()
        with pytest.raises(psycopg.OperationalError, match="too many clients"):
            for _ in range(101):  # max_connections is 100
                stack.enter_context(psycopg.connect(server.url()))
        wait_for(site, 503)
        said = examine(site)
        assert "DOWN  database " in said and "has no connections left" in said
        assert ada.get("/dashboard/").status_code == 200, "pages keep their connections"
        stack.pop_all().close()
        wait_for(site, 200)
        assert "of 97 connections" in examine(site)


def test_the_errors_that_are_listed(site: Site, server: Postgres) -> None:
    url = server.url()
    nowhere, nothing = server.url(port=1), f"{url.rpartition('/')[0]}/none"
    hba = server.folder / "data" / "pg_hba.conf"
    hba.write_text(f"host all guest 127.0.0.1/32 scram-sha-256\n{hba.read_text()}", "utf-8")
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute("CREATE ROLE guest LOGIN PASSWORD 'right'")
        admin.execute("SELECT pg_reload_conf()")
    guest = url.replace("site@", "guest:wr0ng@")
    for heading, address, words in (
        (
            "connection to server failed: Connection refused",
            nowhere,
            "Nothing listens at 127.0.0.1:1/postgres",
        ),
        ("password authentication failed", guest, "refuses the user name or the password"),
        ("database does not exist", nothing, "The server has no database of the name in"),
    ):
        with pytest.raises(psycopg.OperationalError) as error:
            psycopg.connect(address)
        assert plain(listed(site, heading).splitlines()[0]) in plain(str(error.value))
        said = told(site, address)
        assert words in said
        assert "wr0ng" not in said
    with ExitStack() as stack, pytest.raises(psycopg.OperationalError) as error:
        for _ in range(101):  # max_connections is 100
            stack.enter_context(psycopg.connect(url))
    assert plain(listed(site, "too many clients already").splitlines()[0]) in plain(
        str(error.value)
    )
    limited = psycopg.connect(f"{url}?options=-c%20statement_timeout%3D1")
    with limited, pytest.raises(psycopg.errors.QueryCanceled) as canceled:
        limited.execute("SELECT pg_sleep(1)")
    assert listed(site, "canceling statement due to statement timeout") in str(canceled.value)


def plain(text: str) -> str:
    """Leave out what differs: numbers and names."""
    return re.sub(r"\d+", "N", re.sub(r'(user|database) "\w+"', r"\1 NAME", text))


def told(site: Site, url: str) -> str:
    """Return what the doctor says of another address."""
    site.variables["DATABASE_URL"], before = url, site.variables["DATABASE_URL"]
    try:
        return examine(site)
    finally:
        site.variables["DATABASE_URL"] = before
