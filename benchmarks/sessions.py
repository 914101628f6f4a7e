"""Ways to find session and user of a request, beside Django's engine `db`.

The row alone, a copy in Redis that the database confirms, with the user or on its own, and
a copy that is trusted; on SQLite, and on PostgreSQL here and two milliseconds away. Redis
is as far away as the database.
"""

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.asking import Ask, generate, measuring
from benchmarks.report import Figures, Options, Row, Table, interleave, progress, rows_of
from proof.postgres import find_postgres

PAGES = {
    "/bare/": "a page that uses session and user",
    "/basket/": "a page that uses the session alone",
    "/dashboard/": "the dashboard",
}


def run(options: Options) -> Iterator[Table]:
    """Yield a table for each place and page."""
    progress("sessions: generating the site")
    places = {"SQLite": 0.0, "PostgreSQL": 0.0, "PostgreSQL 2 ms away": 2.0}
    if not find_postgres():
        progress("No PostgreSQL here: only SQLite is measured.\n")
        places = {"SQLite": 0.0}
    with tempfile.TemporaryDirectory(prefix="sessions ") as folder:
        site = generate(Path(folder))
        for place, milliseconds in places.items():
            postgres = place.startswith("PostgreSQL")
            with measuring(site, "measure", postgres=postgres, milliseconds=milliseconds) as (
                ask,
                names,
            ):
                for page, what in PAGES.items():
                    title = f"sessions: {what}, {place}, microseconds"
                    rows = measure(ask, names, page, options.rounds, title)
                    yield Table(title, rows)


def measure(
    ask: Ask, names: tuple[list[str], list[int]], page: str, rounds: int, title: str
) -> list[Row]:
    """Return a row for each variant, with the ratio to Django's and what it asks for.

    The ratio is that of the fastest rounds: whatever else the machine does only adds.
    """
    variants, sizes = names

    def time(variant: str) -> Figures:
        return {f"{size} kB": ask("time", variant, page, size) for size in sizes}

    rows = rows_of(
        interleave({variant: partial(time, variant) for variant in variants}, rounds, title)
    )
    stock = rows[0].figures
    measured = []
    for subject, figures in rows:
        database, redis = ask("count", subject, page, sizes[0])
        more = {f"times, {size}": stock[size][1] / figures[size][1] for size in figures}
        more |= {"database": float(database), "Redis": float(redis)}
        measured.append(Row(subject, figures | {name: (n, n, n) for name, n in more.items()}))
    return measured
