"""Pages while others are slow

The dashboard, requested 40 times a second, while 40 clients never finish an upload and 40 do not
read the large file that they requested; while 100 people log in at once; while 100 clients request
it at once. "Connections" are those of the site to PostgreSQL; it has 8 threads for pages.
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psycopg

from benchmarks.load import OVERLAY, browse
from benchmarks.pages import Subject
from benchmarks.report import Figures, Table, add_ratio, interleave, percentile
from proof.postgres import Postgres
from proof.site import PASSWORD, Site

LOGIN, TOKEN = "/accounts/login/", "a" * 32
COUNT = "SELECT count(*) - 1 FROM pg_stat_activity WHERE backend_type = 'client backend'"


def run(rounds: int) -> Iterator[Table]:
    with tempfile.TemporaryDirectory(prefix="others ") as folder, ExitStack() as stack:
        url = stack.enter_context(Postgres()).url()
        site = Site(Path(folder), "database", {"DATABASE_URL": url}, overlay=OVERLAY)
        (site.folder / "var" / "static" / "big.bin").write_bytes(bytes(30_000_000))
        subject = Subject(site, stack, {})
        headers = {"Origin": subject.site.url, "Cookie": f"__Host-csrftoken={TOKEN}",
                   "Content-Type": "application/x-www-form-urlencoded"}  # fmt: skip
        form = {"csrfmiddlewaretoken": TOKEN, "password": PASSWORD}
        names = [urlencode(form | {"username": f"{number}@example.com"}) for number in range(100)]
        # Requests, and the status that each gets; 0 if it is slow and reads nothing.
        crowds: dict[str, tuple[list[Any], int]] = {
            "alone": ([], 0),
            "40 slow uploads, 40 slow downloads": (
                40 * [("POST", LOGIN, "x", {"Content-Length": "9000000"})]
                + 40 * [("GET", "/static/big.bin")], 0),
            "100 logins at once": ([("POST", LOGIN, name, headers) for name in names], 302),
            "100 clients at once": (
                100 * [("GET", "/dashboard/", None, {"Cookie": subject.cookies[0]})], 200),
        }  # fmt: skip
        turns = {name: partial(measure, subject, url, *crowd) for name, crowd in crowds.items()}
        measured = interleave(turns, rounds, "pages while others are slow")
        add_ratio(measured, "p99 ms", "alone", "times p99 alone")
        yield Table("while others are slow", measured)


def measure(subject: Subject, url: str, crowd: list[Any], status: int) -> Figures:
    site, trust = subject.site, subject.site.connection["verify"]
    with ExitStack() as stack:
        others = [HTTPSConnection("127.0.0.1", site.port, context=trust) for _ in crowd]
        for other in others:
            other.connect()
            stack.callback(other.close)
        for other, request in zip(others, crowd, strict=True):
            other.request(*request)
        if not status:
            time.sleep(1)  # until all of them are stuck
        took, _ = browse(site, subject.cookies, 4, 6.0, pause=0.1)
        with psycopg.connect(url) as admin:
            (connections,) = admin.execute(COUNT).fetchone() or (0,)
        figures = {"p50 ms": percentile(took, 0.5) * 1000, "p99 ms": percentile(took, 0.99) * 1000,
                   "connections": connections}  # fmt: skip
        if status:
            assert {other.getresponse().status for other in others} == {status}
    return figures
