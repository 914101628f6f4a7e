"""Ways to find session and user of a request, beside Django's engine `db`.

The row alone, a copy in Redis that the database confirms, with the user or on its own, and
a copy that is trusted; on SQLite, and on PostgreSQL here and two milliseconds away. Redis
is as far away as the database. It fails if the figures of the design do not hold.
"""

import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from cookiecutter.main import cookiecutter

from benchmarks.distance import far_away
from benchmarks.report import Figures, Row, interleave, progress
from proof.conftest import module
from proof.postgres import Postgres, find_postgres
from proof.site import TEMPLATE

STOCK = "Django db"
OURS = ("plain row, with the user", "copy, confirmed with the user")
AT_LEAST = 1.2  # times as fast as STOCK: here, with a session of 1 kB
PAGES = {
    "/bare/": "a page that uses session and user",
    "/basket/": "a page that uses the session alone",
    "/dashboard/": "the dashboard",
}
CODE = "import django; django.setup(); from benchmarks.inside.measure import main; main()"

Ask = Callable[..., Any]


def run(rounds: int) -> Iterator[tuple[str, list[Row]]]:
    """Yield a table for each place and page."""
    places = {"SQLite": 0.0, "PostgreSQL": 0.0, "PostgreSQL 2 ms away": 2.0}
    if not find_postgres():
        progress("No PostgreSQL here: only SQLite is measured.\n")
        places = {"SQLite": 0.0}
    wrong = []
    with tempfile.TemporaryDirectory(prefix="sessions ") as folder:
        site = generate(Path(folder))
        for place, milliseconds in places.items():
            with measuring(site, place.startswith("PostgreSQL"), milliseconds) as (ask, names):
                for page, what in PAGES.items():
                    title = f"{what}, {place}, microseconds"
                    rows = measure(partial(ask, page=page), names, rounds, title)
                    yield title, rows
                    if page == "/bare/" and not milliseconds:
                        wrong += check(place, rows)
    if wrong:
        raise SystemExit("\n".join(wrong))


def generate(folder: Path) -> Path:
    """Return a site with the profile `redis`, without the hooks, which write .env."""
    answers = {"profile": "redis", "install": False}
    site = Path(
        cookiecutter(
            str(TEMPLATE),
            no_input=True,
            output_dir=str(folder),
            extra_context=answers,
            accept_hooks=False,
        )
    )
    (site / "var").mkdir()
    return site


@contextmanager
def measuring(
    site: Path, postgres: bool, milliseconds: float
) -> Iterator[tuple[Ask, tuple[list[str], list[int]]]]:
    """Yield a function that asks `inside/measure.py`, and the variants and sizes it knows."""
    with ExitStack() as stack:
        topology = stack.enter_context(module("apps.backends.servers").Topology())
        redis = stack.enter_context(far_away(topology.primary.port, milliseconds))
        variables = {
            "DJANGO_PROFILE": "redis",
            "DJANGO_SECRET_KEY": secrets.token_urlsafe(50),
            "DJANGO_SETTINGS_MODULE": "benchmarks.inside.settings",
            "PYTHONPATH": os.pathsep.join([str(TEMPLATE), str(site)]),
            "REDIS_URL": f"redis://127.0.0.1:{redis}/0",
            "SITE_URL": "https://127.0.0.1",
        }
        if postgres:
            server = stack.enter_context(Postgres())
            port = stack.enter_context(far_away(server.port, milliseconds))
            variables["DATABASE_URL"] = server.url(port)
        log = stack.enter_context((site / "var" / "measure.log").open("w+"))
        process = subprocess.Popen(
            [sys.executable, "-c", CODE],
            cwd=site, env=os.environ | variables, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
        )  # fmt: skip
        stack.enter_context(process)
        source = process.stdout
        assert process.stdin and source

        def answer() -> Any:
            if line := source.readline():
                return json.loads(line)
            log.seek(0)
            raise RuntimeError(f"The measuring process has ended:\n{log.read()[-4000:]}")

        def ask(what: str, variant: str, size: int, page: str) -> Any:
            print(json.dumps([what, variant, page, size]), file=process.stdin, flush=True)
            return answer()

        yield ask, answer()
        process.stdin.close()


def measure(ask: Ask, names: tuple[list[str], list[int]], rounds: int, title: str) -> list[Row]:
    """Return a row for each variant, with the ratio to Django's and what it asks for.

    The ratio is that of the fastest rounds: whatever else the machine does only adds.
    """
    variants, sizes = names

    def time(variant: str) -> Figures:
        return {f"{size} kB": ask("time", variant, size) for size in sizes}

    rows = interleave({variant: partial(time, variant) for variant in variants}, rounds, title)
    stock = rows[0].figures
    measured = []
    for subject, figures in rows:
        database, redis = ask("count", subject, sizes[0])
        more = {f"times, {size}": stock[size][1] / figures[size][1] for size in figures}
        more |= {"database": float(database), "Redis": float(redis)}
        measured.append(Row(subject, figures | {name: (n, n, n) for name, n in more.items()}))
    return measured


def check(place: str, rows: list[Row]) -> list[str]:
    """Return a sentence for each figure of the design that does not hold."""
    wrong = []
    for subject, figures in rows:
        if subject in OURS:
            if figures["database"][0] != 1:
                wrong.append(f"{place}, {subject}: asks the database more than once.")
            if figures["times, 1 kB"][0] < AT_LEAST:
                wrong.append(f"{place}, {subject}: not {AT_LEAST} times as fast as {STOCK}.")
    return wrong
