"""A page of somebody logged in: each profile beside Django's stock engines, same server."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.load import browse, cpu_seconds
from benchmarks.report import Figures, Row, interleave, percentile, progress
from proof.conftest import module
from proof.postgres import Postgres, find_postgres
from proof.site import Site

CONNECTIONS, SECONDS, COUNTED = 16, 3.0, 50
OVERLAY = Path(__file__).parent / "overlay"
# Whose cache and sessions: the profile's own, or a stock engine of Django on its servers.
SUBJECTS = {
    "stock db": ("database", "db"),
    "database": ("database", ""),
    "file": ("file", ""),
    "dummy": ("dummy", ""),
    "stock cached_db": ("redis", "cached_db"),
    "stock cache": ("redis", "cache"),
    "redis": ("redis", ""),
    "redis-sentinel": ("redis-sentinel", ""),
}


def run(rounds: int) -> Iterator[tuple[str, list[Row]]]:
    """Yield a table on SQLite, and one on PostgreSQL where there is a server."""
    with tempfile.TemporaryDirectory(prefix="pages ") as folder:
        yield "pages on SQLite", measure(Path(folder) / "sqlite", {}, rounds)
        if find_postgres():
            with Postgres() as server:
                variables = {"DATABASE_URL": server.url()}
                yield "pages on PostgreSQL", measure(Path(folder) / "postgres", variables, rounds)
        else:
            progress("No PostgreSQL here: its table is left out.\n")


def measure(folder: Path, variables: dict[str, str], rounds: int) -> list[Row]:
    """Return a row for each subject; all run on one machine's servers at the same time."""
    with ExitStack() as stack:
        topologies = {
            name: stack.enter_context(module("apps.backends.servers").Topology(**sizes))
            for name, sizes in module("config.profiles").SERVERS.items()
        }
        sites = {
            subject: Subject(folder / subject, profile, stock, topologies.get(profile), variables)
            for subject, (profile, stock) in SUBJECTS.items()
        }
        subjects: dict[str, Callable[[], Figures]] = {
            subject: partial(site.round) for subject, site in sites.items()
        }
        rows = interleave(subjects, rounds, "pages")
    base = rows[0].figures["requests/s"][0]
    return [
        Row(row.subject, row.figures | {"against stock db": (ratio, ratio, ratio)})
        for row in rows
        for ratio in [row.figures["requests/s"][0] / base]
    ]


class Subject:
    """A site on a profile, or on a stock engine with that profile's servers."""

    def __init__(
        self, folder: Path, profile: str, stock: str, topology: Any, variables: dict[str, str]
    ) -> None:
        progress(f"pages: generating {folder.name}")
        self.topology = topology
        self.site = Site(folder, profile, variables | (topology.environment() if topology else {}))
        shutil.copytree(OVERLAY, self.site.folder, dirs_exist_ok=True)
        self.site.variables |= {"DJANGO_SETTINGS_MODULE": "measured.settings", "STOCK": stock}
        self.site.manage("migrate", "--verbosity=0")

    def round(self) -> Figures:
        """Return the figures of one round, with a server and a session of its own."""
        with self.site.running() as site, site.browser() as browser:
            browser.log_in()
            cookie = f"__Host-sessionid={browser.session_key}"
            browse(site, cookie, CONNECTIONS, 0.5, "/dashboard/")  # warm up
            before = cpu_seconds(site.process.pid)
            took = browse(site, cookie, CONNECTIONS, SECONDS, "/dashboard/")
            cpu = cpu_seconds(site.process.pid) - before
            figures = {
                "requests/s": len(took) / SECONDS,
                "p50 ms": percentile(took, 0.5) * 1000,
                "p99 ms": percentile(took, 0.99) * 1000,
                "CPU ms": cpu / len(took) * 1000,
            }
            redis = self._redis_per_request(partial(browser.get, "/dashboard/"))
        return figures | redis | {"queries": self._queries()}

    def _redis_per_request(self, ask: Callable[[], Any]) -> Figures:
        """Return the commands and the new connections that one request takes, on average."""
        if self.topology is None:
            return {}
        with self.topology.primary.client() as client:
            before = client.info("all")
            for _ in range(COUNTED):
                ask()
            after = client.info("all")
        gets = after["cmdstat_get"]["calls"] - before.get("cmdstat_get", {"calls": 0})["calls"]
        opened = after["total_connections_received"] - before["total_connections_received"]
        return {"Redis GETs": gets / COUNTED, "Redis connections": opened / COUNTED}

    def _queries(self) -> float:
        self.site.variables["COUNT_QUERIES"] = "1"
        try:
            with self.site.running() as site, site.browser() as browser:
                browser.log_in()
                browser.get("/dashboard/")
                return float(browser.get("/dashboard/").headers["X-Queries"])
        finally:
            del self.site.variables["COUNT_QUERIES"]
