"""While Redis is unavailable

The dashboard of a logged-in user is requested at fixed times, whether or not earlier requests were
answered. This template and Django's own cache-backed sessions have the same fault at the same
time. "Noticing" are the requests in the first second of a fault.

![Milliseconds of each request over the seconds since a fault in Redis](benchmarks-outage.png)
"""

import asyncio
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import httpx2

from benchmarks.load import beside, browse, generate
from benchmarks.report import Figures, Measured, Table, percentile, progress
from proof.conftest import module
from proof.site import Site

OVERLAY = Path(__file__).parent / "overlay"
PER_SECOND = 25
BEFORE, LASTS, AFTER = 2.0, 4.0, 3.0  # seconds; a failover lasts as long as it takes
NOTICED = 1.0  # seconds after which a fault counts as noticed
TIME_LIMIT = 5.0  # seconds after which a request has failed
IDLE_SECONDS = 3.0  # after which a connection is not used again: uvicorn closes it after 5
WORKERS = 2
PLOT = Path(__file__).parent.parent / "docs" / "benchmarks-outage.png"
TITLE = f"outage: {PER_SECOND} requests per second, two processes"
OURS, STOCK = "this template", "Django's cache sessions"


class Answer(NamedTuple):
    """A request's begin in seconds since the fault, its milliseconds, and what came of it."""

    at: float
    took: float
    outcome: str  # "ok", "error": 5xx or no answer, "logged out": sent to the login page


class Fault(NamedTuple):
    """What is done to the servers of a profile: `begin`, and `end` after LASTS seconds.

    Without `end` the system recovers by itself: it elects another primary.
    """

    title: str
    profile: str
    begin: Callable[[Any], None]
    end: Callable[[Any], None] | None


def plan(topology: Any) -> None:
    """Ask for a failover, as for maintenance."""
    with topology.sentinels[0].client() as client:
        client.sentinel_failover(topology.environment()["REDIS_SENTINEL_SERVICE"])


FAULTS = (
    Fault("stopped", "redis", lambda on: on.primary.kill(), lambda on: on.servers[0].start()),
    Fault("hung", "redis", lambda on: on.primary.pause(), lambda on: on.servers[0].resume()),
    Fault("failover, primary killed", "redis-sentinel", lambda on: on.primary.kill(), None),
    Fault("failover, planned", "redis-sentinel", plan, None),
)


def run(rounds: int) -> Iterator[Table]:
    """Yield a table of what requests saw; the plot is that of the last round."""
    progress("outage: generating the sites")
    measured: Measured = {}
    with tempfile.TemporaryDirectory(prefix="outage ") as folder:
        generated = generate(Path(folder), "redis", {}, overlay=OVERLAY)
        variables = {"DJANGO_SETTINGS_MODULE": "measured.settings"}
        ours, stock = beside(generated, variables), beside(generated, variables)
        for number in range(1, rounds + 1):
            plot = []
            for fault in FAULTS:
                progress(f"outage: round {number} of {rounds}, {fault.title}")
                lasted, found = watch(fault, {OURS: ours, STOCK: stock})
                for name, answers in found.items():
                    figures = figures_of(answers, lasted)
                    measured.setdefault(f"{fault.title}: {name}", []).append(figures)
                    points = [(round(a.at, 2), round(a.took, 1), a.outcome) for a in answers]
                    plot.append({"fault": fault.title, "who": name, "lasted": round(lasted, 2),
                                 "answers": points})  # fmt: skip
    progress("")
    from benchmarks.plot import draw  # matplotlib is only in the environment of benchmarks

    draw(plot, PLOT)
    yield Table(TITLE, measured)


def watch(fault: Fault, sites: dict[str, Site]) -> tuple[float, dict[str, list[Answer]]]:
    """Return how long the fault lasted, in seconds, and the answers of each site.

    All servers are new ones, for Sentinels remember. Django's cache knows nothing of them:
    it is told where the primary is when it starts.
    """
    needed = module("config.profiles").SERVERS[fault.profile]
    with module("outlast.servers").Topology(**needed) as topology, ExitStack() as stack:
        where = {"DJANGO_PROFILE": fault.profile, **topology.environment()}
        sites[OURS].variables |= where
        sites[STOCK].variables |= {
            "STOCK": "cache",
            "DJANGO_PROFILE": "redis",
            "REDIS_URL": f"redis://127.0.0.1:{topology.primary.port}/0",
        }
        cookies = {}
        for name, site in sites.items():
            stack.enter_context(site.running(WORKERS))
            with site.browser() as browser:
                browser.log_in()
                assert browser.logged_in
                cookies[name] = f"__Host-sessionid={browser.session_key}"
            browse(site, [cookies[name]], 4 * WORKERS, 0.5, "/dashboard/")  # warm up all of them
        return asyncio.run(_watch(fault, topology, sites, cookies))


async def _watch(
    fault: Fault, topology: Any, sites: dict[str, Site], cookies: dict[str, str]
) -> tuple[float, dict[str, list[Answer]]]:
    over = asyncio.Event()
    start = time.perf_counter() + BEFORE
    watchers = [
        asyncio.create_task(ask_all_the_time(site, cookies[name], start, over))
        for name, site in sites.items()
    ]
    await asyncio.sleep(BEFORE)
    old = topology.primary
    start_of_fault = time.perf_counter()
    await asyncio.to_thread(fault.begin, topology)
    if fault.end:
        await asyncio.sleep(LASTS)
        await asyncio.to_thread(fault.end, topology)
    else:
        await asyncio.to_thread(topology.wait_failover, old)
    lasted = time.perf_counter() - start_of_fault
    await asyncio.sleep(max(AFTER, LASTS + AFTER - lasted))
    over.set()
    answers = await asyncio.wait_for(asyncio.gather(*watchers), 2 * TIME_LIMIT)
    return lasted, dict(zip(sites, answers, strict=True))


async def ask_all_the_time(
    site: Site, cookie: str, start: float, over: asyncio.Event
) -> list[Answer]:
    """Begin PER_SECOND requests a second until it is over; return the answers in order."""
    limits = httpx2.Limits(keepalive_expiry=IDLE_SECONDS)
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
    """Return the figures of one fault; milliseconds of requests whatever came of them.

    A failover may be over before it is noticed: what follows it is looked at as well.
    """

    def took(first: float, last: float) -> list[float]:
        return [answer.took for answer in answers if first <= answer.at < last]

    usual, noticed = took(-BEFORE, 0), took(NOTICED, max(lasted, LASTS))
    return {
        "s it lasted": lasted,
        "requests": len(answers),
        "errors": sum(answer.outcome == "error" for answer in answers),
        "logged out": sum(answer.outcome == "logged out" for answer in answers),
        "usual p50 ms": percentile(usual, 0.5),
        "usual p99": percentile(usual, 0.99),
        "slowest, noticing": max(took(0, NOTICED)),
        "p99 once noticed": percentile(noticed, 0.99),
    }
