"""While Redis is unavailable

The dashboard of a logged-in user is requested at fixed times, whether or not earlier requests were
answered. This template and Django's own cache-backed sessions have the same fault at the same
time. "Noticing" are the requests in the first second of a fault.

![Milliseconds of each request over the seconds since a fault in Redis](benchmarks-outage.png)
"""

import asyncio
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import httpx2

from benchmarks.load import OVERLAY, browse, second_server
from benchmarks.plot import draw
from benchmarks.report import Figures, Measured, Table, percentile, progress
from proof.conftest import module
from proof.site import Site

PER_SECOND = 25
BEFORE, LASTS, AFTER = 2.0, 4.0, 3.0  # seconds; a failover lasts as long as it takes
NOTICED = 1.0  # seconds after which a fault counts as noticed
TIME_LIMIT = 5.0  # seconds after which a request has failed
PLOT = Path(__file__).parent.parent / "docs" / "benchmarks-outage.png"
OURS, STOCK = "this template", "Django's cache sessions"


class Answer(NamedTuple):
    """A request's begin in seconds since the fault, its milliseconds, and what came of it."""

    at: float
    took: float
    outcome: str  # "ok", "error": 5xx or no answer, "logged out": sent to the login page


class Fault(NamedTuple):
    """What is done to the servers of a profile, and undone after LASTS seconds.

    Without `end` the system recovers by itself: it elects another primary.
    """

    profile: str
    begin: Callable[[Any], None]
    end: Callable[[Any], None] | None = None


FAULTS = {
    "stopped": Fault("redis", lambda on: on.primary.kill(), lambda on: on.servers[0].start()),
    "hung": Fault("redis", lambda on: on.primary.pause(), lambda on: on.servers[0].resume()),
    "failover, primary killed": Fault("redis-sentinel", lambda on: on.primary.kill()),
    "failover, planned": Fault(
        "redis-sentinel", lambda on: on.sentinels[0].client().sentinel_failover("mymaster")
    ),
}


def run(rounds: int) -> Iterator[Table]:
    """Yield a table of what requests saw; the plot is that of the last round."""
    measured: Measured = {}
    with tempfile.TemporaryDirectory(prefix="outage ") as folder:
        generated = Site(Path(folder), "redis", {}, overlay=OVERLAY)
        sites = {name: second_server(generated, {}) for name in (OURS, STOCK)}
        for number in range(1, rounds + 1):
            panels: dict[tuple[str, str], tuple[float, list[Answer]]] = {}
            for title, fault in FAULTS.items():
                progress(f"outage: round {number} of {rounds}, {title}")
                lasted, found = watch(fault, sites)
                for name, answers in found.items():
                    figures = figures_of(answers, lasted)
                    measured.setdefault(f"{title}: {name}", []).append(figures)
                    panels[title, name] = lasted, answers
    draw(panels, PLOT)
    yield Table(f"outage: {PER_SECOND} requests per second, two processes", measured)


def watch(fault: Fault, sites: dict[str, Site]) -> tuple[float, dict[str, list[Answer]]]:
    """Return how long the fault lasted, in seconds, and the answers of each site.

    All servers are new ones, because Sentinels keep their state. Django's cache does not
    ask Sentinels: it is told where the primary is when it starts.
    """
    needed, over = module("config.profiles").SERVERS[fault.profile], threading.Event()
    with (
        ExitStack() as stack,
        module("tests.servers").Topology(**needed) as topology,
        ThreadPoolExecutor() as pool,
    ):
        old = topology.primary
        sites[OURS].variables |= {"DJANGO_PROFILE": fault.profile, **topology.environment()}
        sites[STOCK].variables |= {
            "DJANGO_SETTINGS_MODULE": "measured.settings",
            "STOCK": "cache",
            "REDIS_URL": f"redis://127.0.0.1:{old.port}/0",
        }
        cookies = {}
        for name, site in sites.items():
            stack.enter_context(site.running(workers=2))
            with site.browser() as browser:
                browser.log_in()
                cookies[name] = f"__Host-sessionid={browser.session_key}"
            browse(site, [cookies[name]], 8, 0.5)  # warm up both workers
        start = time.perf_counter() + BEFORE
        asking = {
            name: pool.submit(asyncio.run, ask_all_the_time(site, cookies[name], start, over))
            for name, site in sites.items()
        }
        time.sleep(BEFORE)
        fault.begin(topology)
        if fault.end:
            time.sleep(LASTS)
            fault.end(topology)
        else:
            topology.wait_failover(old)
        lasted = time.perf_counter() - start
        time.sleep(max(AFTER, LASTS + AFTER - lasted))
        over.set()
        return lasted, {name: answers.result() for name, answers in asking.items()}


async def ask_all_the_time(
    site: Site, cookie: str, start: float, over: threading.Event
) -> list[Answer]:
    """Begin PER_SECOND requests a second until it is over; return the answers in order."""
    limits = httpx2.Limits(keepalive_expiry=3)  # uvicorn closes idle connections after 5 s
    options = site.connection | {"timeout": TIME_LIMIT, "headers": {"Cookie": cookie}}

    async with httpx2.AsyncClient(**options, limits=limits) as client:

        async def answer() -> Answer:
            begun = time.perf_counter()
            try:
                status = (await client.get("/dashboard/")).status_code
            except httpx2.TransportError:
                status = 0
            outcome = {200: "ok", 302: "logged out"}.get(status, "error")
            return Answer(begun - start, (time.perf_counter() - begun) * 1000, outcome)

        asked = []
        while not over.is_set():
            asked.append(asyncio.create_task(answer()))
            due = start - BEFORE + len(asked) / PER_SECOND
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
        return await asyncio.gather(*asked)


def figures_of(answers: list[Answer], lasted: float) -> Figures:
    """Return the figures of one fault; milliseconds of requests, answered or not.

    A failover may be over before it is noticed: what follows it is looked at as well.
    """

    def took(first: float, last: float) -> list[float]:
        return [answer.took for answer in answers if first <= answer.at < last]

    outcomes = [answer.outcome for answer in answers]
    return {
        "s it lasted": lasted,
        "errors": outcomes.count("error"),
        "logged out": outcomes.count("logged out"),
        "usual p99 ms": percentile(took(-BEFORE, 0), 0.99),
        "slowest, noticing": max(took(0, NOTICED)),
        "p99 once noticed": percentile(took(NOTICED, max(lasted, LASTS)), 0.99),
    }
