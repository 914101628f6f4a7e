"""How the cost of a request grows with the sessions that are stored, engine by engine.

Each engine holds so many sessions, of a thousand people. `redis` has copies of the rows of
`database`; those of `file` lie beside them in the same table. For each number there is a site
with servers of its own, and they are asked in turn.
"""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks.asking import Ask, generate, measuring
from benchmarks.report import Figures, Options, Table, interleave, progress, rows_of
from proof.postgres import find_postgres

PAGE = "/dashboard/"
FILES = ("Django file", "file")  # files do not grow with the database: on SQLite only


def run(options: Options) -> Iterator[Table]:
    """Yield a table for each database."""
    for database in ["SQLite", "PostgreSQL"] if find_postgres() else ["SQLite"]:
        title = f"growth: sessions stored, on {database}, microseconds"
        with tempfile.TemporaryDirectory(prefix="growth ") as folder, ExitStack() as stack:
            asks, names = {}, []
            for number in options.stored:
                progress(f"{title}: storing {number:,}")
                site = generate(Path(folder) / str(number))
                ask, known = stack.enter_context(
                    measuring(site, "grow", postgres=database == "PostgreSQL")
                )
                names = [name for name in known if database == "SQLite" or name not in FILES]
                ask("fill", number, names)
                asks[f"{number:,}"] = ask
            subjects = {name: partial(visit, asks, name) for name in names}
            for warm_up in subjects.values():
                warm_up()
            yield Table(title, rows_of(interleave(subjects, options.rounds, title)))


def visit(asks: dict[str, Ask], name: str) -> Figures:
    """Return the figure for each number of sessions, and how many times the first the last is."""
    figures: Figures = {number: ask("time", name, PAGE) for number, ask in asks.items()}
    first, *_, last = figures.values()
    return figures | {"times": last / first}
