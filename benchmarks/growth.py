"""How the cost of a request grows with the sessions that are stored, engine by engine.

Each engine holds so many sessions, of a thousand people. Ours share one table of rows,
those of `file` beside those of `database`, which `redis` has copies of: twice as many rows.
"""

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.asking import Ask, generate, measuring
from benchmarks.report import Figures, Measured, Options, Table, interleave, progress, rows_of
from proof.postgres import find_postgres

PAGE = "/dashboard/"


def run(options: Options) -> Iterator[Table]:
    """Yield a table for each database."""
    databases = ["SQLite", "PostgreSQL"] if find_postgres() else ["SQLite"]
    with tempfile.TemporaryDirectory(prefix="growth ") as folder:
        for database in databases:
            title = f"growth: sessions stored, on {database}, microseconds"
            progress(f"{title}: generating the site")
            site = generate(Path(folder) / database)
            with measuring(site, "grow", postgres=database == "PostgreSQL") as (ask, names):
                yield Table(title, rows_of(measure(ask, names, options, title)))


def measure(ask: Ask, names: list[str], options: Options, title: str) -> Measured:
    """Return the figures for each number of sessions, and how many times the first they are."""
    growing: Measured = {name: [{} for _ in range(options.rounds)] for name in names}

    def time(name: str, column: str) -> Figures:
        return {column: ask("time", name, PAGE)}

    for number in options.stored:
        progress(f"{title}: storing {number:,} sessions")
        ask("fill", number)
        column = f"{number:,}"
        subjects = {name: partial(time, name, column) for name in names}
        for subject in subjects.values():
            subject()  # warm up
        for name, found in interleave(subjects, options.rounds, f"{title}, {column}").items():
            for all_figures, figures in zip(growing[name], found, strict=True):
                all_figures |= figures
    first, last = f"{options.stored[0]:,}", f"{options.stored[-1]:,}"
    for rounds in growing.values():
        for figures in rounds:
            figures["times"] = figures[last] / figures[first]
    return growing
