"""The drills of docs/operations.md, followed word by word on real servers.

Each ```sh block is given to the shell unchanged, except for ports and the name of the
Python; each ```text block after it is what must have been printed, … being anything.
"""

import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis, RedisError

from proof.conftest import module, servers
from proof.postgres import Postgres, find_postgres
from proof.site import Site

# A block for the shell, and perhaps what it must have printed.
STEP = re.compile(r"```sh\n(.*?)```(?:(?:(?!```).)*```text\n(.*?)```)?", re.DOTALL)


class Drill:
    """A section of docs/operations.md, and the shell in which it is followed."""

    def __init__(self, site: Site, title: str, ports: dict[str, int], path: str = "") -> None:
        page = (site.folder / "docs" / "operations.md").read_text("utf-8")
        text = re.split(r"\n#{2,3} ", page.partition(f"# {title}\n")[2])[0]
        self.steps = STEP.findall(text)
        assert self.steps, f"docs/operations.md has no drill called {title}"
        expected = sum(bool(printed) for _, printed in self.steps)
        assert expected == text.count("```text"), "what was printed does not follow a ```sh block"
        self.site, self.ports = site, {name: str(port) for name, port in ports.items()}
        python = str(Path(sys.executable).parent)
        self.path = os.pathsep.join(filter(None, [python, path, os.environ["PATH"]]))

    def follow(self, steps: int | None = None) -> None:
        """Do the next steps, all by default."""
        for block, expected in self.steps[:steps]:
            done = self.site.execute("sh", "-c", self.here(block), PATH=self.path)
            said = done.stdout + done.stderr
            print(block, said)
            for line in self.here(expected).splitlines():
                pattern = ".*".join(map(re.escape, line.split("…")))
                assert re.search(f"^{pattern}$", said, re.MULTILINE), f"{line!r} not in:\n{said}"
        del self.steps[:steps]

    def here(self, text: str) -> str:
        return re.sub(r"\b\d{4,5}\b", lambda number: self.ports.get(number[0], number[0]), text)


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
        except RedisError:
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
        with Redis("127.0.0.1", port, decode_responses=True) as restored:
            harness.wait_until(
                lambda: restored.get("mine") == "precious", "the data that was restored", 10
            )
            restored.shutdown(nosave=True)


def test_sqlite_backup(tmp_path_factory: pytest.TempPathFactory) -> None:
    site = Site(tmp_path_factory.mktemp("drill"), "database", {})
    Drill(site, "Backup drill, SQLite", {}).follow()
    site.variables["DATABASE_URL"] = "sqlite:///var/backup.sqlite3"
    with site.running(), site.browser() as ada:
        ada.log_in()
        assert ada.logged_in


def test_postgresql_backup(server: Postgres, tmp_path: Path) -> None:
    site = Site(tmp_path, "database", {"DATABASE_URL": server.url()})
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
        assert not ada.logged_in, "a session survived the end of all sessions"
