"""A page of somebody logged in: each profile beside Django's stock engines, same servers.

All sites run at the same time, from one folder and on one database, and are asked in turn.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.load import beside, browse, cpu_seconds, generate
from benchmarks.report import (
    Figures,
    Table,
    add_ratio,
    interleave,
    percentile,
    progress,
)
from proof.conftest import module
from proof.postgres import Postgres, find_postgres
from proof.site import Browser, Site

CONNECTIONS, WARM_UP, SECONDS, COUNTED = 16, 0.3, 2.0, 50
OVERLAY = Path(__file__).parent / "overlay"
BASE, RATIO = "stock db", "times stock db"
# Whose cache and sessions: the profile's own, or a stock engine of Django on its servers.
SUBJECTS = {
    BASE: ("database", "db"),
    "database": ("database", ""),
    "file": ("file", ""),
    "dummy": ("dummy", ""),
    "stock cached_db": ("redis", "cached_db"),
    "stock cache": ("redis", "cache"),
    "redis": ("redis", ""),
    "redis-sentinel": ("redis-sentinel", ""),
}
# What a server is told by nobody's page: links between servers, and our own questions.
NOT_OF_PAGES = {"info", "ping", "psync", "publish", "replconf", "role"}


def run(rounds: int) -> Iterator[Table]:
    """Yield a table on SQLite, and one on PostgreSQL where there is a server."""
    with tempfile.TemporaryDirectory(prefix="pages ") as folder:
        yield measure("SQLite", Path(folder) / "sqlite", {}, rounds)
        if find_postgres():
            with Postgres() as server:
                variables = {"DATABASE_URL": server.url()}
                yield measure("PostgreSQL", Path(folder) / "pg", variables, rounds)
        else:
            progress("No PostgreSQL here: its table is left out.\n")


def measure(database: str, folder: Path, variables: dict[str, str], rounds: int) -> Table:
    """Return a row for each subject."""
    title = f"pages on {database}"
    progress(f"{title}: starting the sites")
    with ExitStack() as stack:
        servers = {
            name: stack.enter_context(module("outlast.servers").Topology(**sizes))
            for name, sizes in module("config.profiles").SERVERS.items()
        }
        generated = generate(folder, "database", variables, overlay=OVERLAY)
        beside(generated, settings("db")).manage("migrate", "--verbosity=0")
        subjects = {
            name: Subject(generated, profile, stock, servers.get(profile), stack)
            for name, (profile, stock) in SUBJECTS.items()
        }
        rounds_of = {name: partial(subject.round) for name, subject in subjects.items()}
        measured = interleave(rounds_of, rounds, title)
        add_ratio(measured, "requests/s", BASE, RATIO)
        for runs in measured.values():
            for figures, of_base in zip(runs, measured[BASE], strict=True):
                figures["times less CPU"] = of_base["CPU ms"] / figures["CPU ms"]
        for name, subject in subjects.items():
            counted = subject.counts() if not variables else {}  # the same on any database
            for figures in measured[name]:
                figures |= counted
    return Table(title, measured)


def settings(stock: str) -> dict[str, str]:
    """Return the variables of a site with a stock engine, or with the profile's own."""
    return {"DJANGO_SETTINGS_MODULE": "measured.settings", "STOCK": stock}


class Subject:
    """A running site on a profile, or on a stock engine with that profile's servers."""

    def __init__(
        self, generated: Site, profile: str, stock: str, topology: Any, stack: ExitStack
    ) -> None:
        self.topology = topology
        variables = settings(stock) | {"DJANGO_PROFILE": profile}
        self.site = beside(generated, variables | (topology.environment() if topology else {}))
        stack.enter_context(self.site.running())
        self.browser: Browser = stack.enter_context(self.site.browser())
        self.browser.log_in()
        # All of them, as browsers do: without the one against forgery the site makes a new one.
        self.cookie = "; ".join(f"{name}={text}" for name, text in self.browser.cookies.items())

    def round(self) -> Figures:
        """Return the figures of one round."""
        ask = partial(browse, self.site, self.cookie, CONNECTIONS, path="/dashboard/")
        ask(WARM_UP)
        before = cpu_seconds(self.site.process.pid)
        took, per_second = ask(SECONDS)
        cpu = cpu_seconds(self.site.process.pid) - before
        return {
            "requests/s": per_second,
            "p50 ms": percentile(took, 0.5) * 1000,
            "p99 ms": percentile(took, 0.99) * 1000,
            "CPU ms": cpu / len(took) * 1000,
        }

    def counts(self) -> Figures:
        """Return what one request asks for; the same in every round."""
        redis = self._redis_per_request(partial(self.browser.get, "/dashboard/"))
        return redis | {"queries": self._queries()}

    def _redis_per_request(self, ask: Callable[[], Any]) -> Figures:
        """Return the commands and the new connections that one request takes, on average."""
        if self.topology is None:
            return {}
        with self.topology.primary.client() as client:
            before = client.info("all")
            for _ in range(COUNTED):
                ask()
            after = client.info("all")
        opened = after["total_connections_received"] - before["total_connections_received"]
        return {
            "Redis commands": round((commands(after) - commands(before)) / COUNTED, 1),
            "Redis connections": round(opened / COUNTED, 1),
        }

    def _queries(self) -> float:
        """Return how often the database is asked, as a server that counts says."""
        counting = beside(self.site, {"COUNT_QUERIES": "1"})
        with counting.running(), counting.browser() as browser:
            browser.log_in()
            browser.get("/dashboard/")
            return float(browser.get("/dashboard/").headers["X-Queries"])


def commands(info: dict[str, Any]) -> int:
    """Return how many commands a server has been told by clients."""
    return sum(
        of["calls"]
        for name, of in info.items()
        if name.startswith("cmdstat_")
        and name.removeprefix("cmdstat_").partition("|")[0] not in NOT_OF_PAGES
    )
