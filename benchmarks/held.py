"""The figures that are to be held, and whether they are: ratios and bounds, never wishes."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from benchmarks.checks import TITLE as CHECKS
from benchmarks.outage import FAULTS, OURS, TITLE

Parts = dict[str, Any]


class Wanted(NamedTuple):
    """A figure to hold: at most or at least `limit`; `measured` raises KeyError without it."""

    what: str
    measured: Callable[[Parts], float]
    limit: float
    unit: str = ""
    at_least: bool = False

    def row(self, parts: Parts) -> tuple[str, str, str, str]:
        """Return what, its limit, what was measured and whether that holds."""
        limit = f"{'≥' if self.at_least else '≤'} {self.limit:g}{self.unit}"
        if self.limit == 0:
            limit = "0"
        try:
            found = self.measured(parts)
        except KeyError:
            return self.what, limit, "not measured", "–"  # noqa: RUF001
        holds = found >= self.limit if self.at_least else found <= self.limit
        return self.what, limit, f"{found:.3g}{self.unit}", "held" if holds else "**not held**"


def table_of(parts: Parts, part: str, title: str) -> dict[str, Any]:
    """Return the rows of a table; KeyError: not measured, LookupError: there under no such title.

    Where there is no PostgreSQL its tables are left out, and nothing else is.
    """
    tables: dict[str, dict[str, Any]] = parts[part]["tables"]
    if tables and title not in tables and "PostgreSQL" not in title:
        raise LookupError(
            f"The benchmark {part!r} has no table {title!r}, but {', '.join(map(repr, tables))}. "
            "Was it renamed? Then correct the title in benchmarks/held.py."
        )
    return tables[title]


def median(part: str, title: str, subject: str, figure: str) -> Callable[[Parts], float]:
    """Return a function that finds one figure."""

    def find(parts: Parts) -> float:
        return float(table_of(parts, part, title)[subject][figure][0])

    return find


def worst(find: Callable[[dict[str, Any]], float]) -> Callable[[Parts], float]:
    """Return a function that finds the worst fault of `outage`, by the figures of its row."""

    def found(parts: Parts) -> float:
        rows = table_of(parts, "outage", TITLE)
        return max(find(rows[f"{fault.title}: {OURS}"]) for fault in FAULTS)

    return found


def failed(parts: Parts) -> float:
    """Return the requests that failed in the failovers of all rounds' worst."""
    rows = table_of(parts, "outage", TITLE)
    return float(
        sum(
            rows[f"{fault.title}: {OURS}"][what][2]
            for fault in FAULTS
            if fault.profile == "redis-sentinel"
            for what in ("errors", "logged out")
        )
    )


def wanted() -> Iterator[Wanted]:
    """Yield the figures in the order of the design."""
    seconds = "from the command to a migrated site, {}"
    for way, what, limit in (
        ("uv, warm cache", "packages in uv's cache", 3),
        ("uv, empty cache", "uv, empty cache", 8),
        ("pip, empty cache", "without uv, empty cache", 15),
    ):
        find = median("generate", "generate (seconds)", way, "in all")
        yield Wanted(seconds.format(what), find, limit, " s")
    for when, limit in (("fresh", 90), ("reused", 45)):
        find = median("checks", CHECKS, "nox", when)
        yield Wanted(f"plain `nox`, {when} environments", find, limit, " s")
    for database in ("SQLite", "PostgreSQL"):
        for profile in ("database", "redis"):
            what = f"logged-in page against Django's engine `db`: `{profile}`, {database}"
            find = median("pages", f"pages on {database}", profile, "times stock db")
            yield Wanted(what, find, 1.2, " times", at_least=True)
    title = "sessions: a page that uses session and user, {}, microseconds"
    for database in ("SQLite", "PostgreSQL"):
        for profile, variant, trips in (
            ("database", "plain row, with the user", 2),
            ("redis", "copy, confirmed with the user", 1),
        ):
            what = f"database round trips for session and user: `{profile}`, {database}"
            find = median("sessions", title.format(database), variant, "database")
            yield Wanted(what, find, trips)
    for profile in ("redis", "redis-sentinel"):
        what = f"Redis connections opened per request: `{profile}`"
        yield Wanted(what, median("pages", "pages on SQLite", profile, "Redis connections"), 0)
    yield Wanted(
        "while Redis is away: p99 above its usual once noticed, worst fault",
        worst(lambda row: row["p99 once noticed"][0] - row["usual p99"][0]),
        300,
        " ms",
    )
    yield Wanted(
        "while Redis is away: the slowest of those that notice, worst fault",
        worst(lambda row: row["slowest, noticing"][0]),
        1000,
        " ms",
    )
    yield Wanted("requests failed in both failovers, sum of the worst rounds", failed, 0)


def rows(parts: Parts) -> list[tuple[str, str, str, str]]:
    """Return a row for each figure."""
    return [figure.row(parts) for figure in wanted()]
