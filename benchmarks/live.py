"""Live events: channel layers, and open pages

Two processes with 50 WebSockets each listen, and a third one sends. Then pages of one user are
open at one process of a site, and receive an event when the user logs out in another browser.
"""

import asyncio
import json
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Origin

from benchmarks.load import generate, kilobytes
from benchmarks.report import Figures, Table, interleave, percentile, progress
from proof.conftest import module
from proof.postgres import Postgres, find_postgres
from proof.site import TEMPLATE, Browser, Site

PROCESSES, CHANNELS, MESSAGES, SENDS = 2, 50, 200, 6000
SOCKETS = (100, 1000)  # some systems need `ulimit -n 4096` first
AT_ONCE = 20  # handshakes
OVERLAY = Path(__file__).parent / "overlay"
TIME_LIMIT = 60.0  # seconds


def run(rounds: int) -> Iterator[Table]:
    """Yield a table of the layers, and one for each number of open pages."""
    needed = module("config.profiles").SERVERS["redis"]
    with ExitStack() as stack:
        redis = stack.enter_context(module("outlast.servers").Topology(**needed))
        layers = {"Redis": redis.environment()["REDIS_URL"]}
        if find_postgres():
            layers["PostgreSQL"] = stack.enter_context(Postgres()).url()
        subjects = {name: partial(measure_layer, url) for name, url in layers.items()}
        title = f"live: {PROCESSES * CHANNELS} sockets in {PROCESSES} processes"
        yield Table(title, interleave(subjects, rounds, title))
        progress("live: generating the sites")
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="live ")))
        variables = redis.environment() | {"DJANGO_SETTINGS_MODULE": "measured.settings"}
        sites = {
            profile: generate(folder / profile, profile, variables, overlay=OVERLAY)
            for profile in ("database", "redis")
        }
        for number in SOCKETS:
            subjects = {name: partial(measure_pages, site, number) for name, site in sites.items()}
            title = f"live: {number} open pages at one process"
            yield Table(title, interleave(subjects, rounds, title))


# --- Channel layers: `python -m benchmarks.live listen URL` and `… send URL` ---


def make_layer(url: str) -> Any:
    """Return the layer for an address; there is no site in these processes."""
    sys.path.append(str(TEMPLATE / "{{cookiecutter.project_slug}}/vendor/django-outlast/src"))
    from django.conf import settings

    if url.startswith("redis"):
        from outlast.channels.redis import PubSubLayer

        return PubSubLayer([url])
    place = urlsplit(url)
    server = {"HOST": place.hostname, "PORT": place.port, "USER": place.username}
    database = {"ENGINE": "django.db.backends.postgresql", "NAME": place.path[1:], **server}
    settings.configure(DATABASES={"default": database})
    from outlast.channels.postgres import PostgresLayer

    return PostgresLayer()


async def listen(layer: Any) -> list[float]:
    """Return the seconds that each message took to each channel."""
    channels = [await layer.new_channel() for _ in range(CHANNELS)]
    for channel in channels:
        await layer.group_add("group", channel)
    print("ready", flush=True)

    async def hear(channel: str) -> list[float]:
        delays = []
        for _ in range(MESSAGES):
            message = await layer.receive(channel)
            delays.append(time.time() - message["at"])
        return delays

    return [delay for heard in await asyncio.gather(*map(hear, channels)) for delay in heard]


async def send(layer: Any) -> list[float]:
    """Send to the listeners; return how many messages a second can be sent to an empty group."""
    for _ in range(MESSAGES):
        await layer.group_send("group", {"type": "x", "at": time.time()})
        await asyncio.sleep(0.01)
    began = time.perf_counter()
    for _ in range(SENDS // 100):
        message = {"type": "x"}
        await asyncio.gather(*(layer.group_send("nowhere", message) for _ in range(100)))
    return [SENDS / (time.perf_counter() - began)]


def measure_layer(url: str) -> Figures:
    """Return the figures of one round."""

    def start(what: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "benchmarks.live", what, url]
        return subprocess.Popen(command, cwd=TEMPLATE, stdout=subprocess.PIPE, text=True)

    listeners = [start("listen") for _ in range(PROCESSES)]
    for listener in listeners:
        assert listener.stdout
        listener.stdout.readline()
    (rate,) = json.loads(start("send").communicate(timeout=TIME_LIMIT)[0])
    heard = [json.loads(each.communicate(timeout=TIME_LIMIT)[0]) for each in listeners]
    delays = [delay for each in heard for delay in each]
    return {
        "ms to each, p50": percentile(delays, 0.5) * 1000,
        "p99": percentile(delays, 0.99) * 1000,
        "sends/s": rate,
    }


# --- Open pages ---


def measure_pages(site: Site, number: int) -> Figures:
    """Return the figures of one round, with a server of its own."""
    with site.running(), site.browser() as ada, site.browser() as other:
        ada.log_in()
        other.log_in()
        return asyncio.run(_measure_pages(site, number, ada, other))


async def _measure_pages(site: Site, number: int, ada: Browser, other: Browser) -> Figures:
    trust = ssl.create_default_context()
    site.authority.configure_trust(trust)
    cookies = "; ".join(f"{name}={value}" for name, value in ada.cookies.items())
    pid, turn = site.process.pid, asyncio.Semaphore(AT_ONCE)
    handshakes: list[float] = []

    async def open_page() -> ClientConnection:
        async with turn:
            began = time.perf_counter()
            page = await stack.enter_async_context(
                connect(
                    f"{site.url.replace('http', 'ws')}/ws/events/",
                    ssl=trust,
                    origin=Origin(site.url),
                    additional_headers={"Cookie": cookies},
                    proxy=None,
                    open_timeout=TIME_LIMIT,
                    ping_interval=None,
                )
            )
            await page.recv()  # the first heartbeat: its session has been looked at
            handshakes.append(time.perf_counter() - began)
            return page

    async with AsyncExitStack() as stack:
        await open_page()  # what the first one loads is not of its kind
        handshakes.clear()
        before = kilobytes(pid)
        pages = await asyncio.gather(*(open_page() for _ in range(number)))
        grown = (kilobytes(pid) - before) / number
        hearing = asyncio.gather(*(hear(page) for page in pages))
        await asyncio.to_thread(other.log_out)
        delays = await asyncio.wait_for(hearing, TIME_LIMIT)
    return {
        "ms to connect, p50": percentile(handshakes, 0.5) * 1000,
        "p99": percentile(handshakes, 0.99) * 1000,
        "kB each": grown,
        "ms until an event is there, p50": percentile(delays, 0.5) * 1000,
        "the last": max(delays) * 1000,
    }


async def hear(page: ClientConnection) -> float:
    """Return the seconds between an event and its arrival."""
    while True:
        event = json.loads(await page.recv())
        if event["type"] == "signed_out":
            return time.time() - datetime.fromisoformat(event["time"]).timestamp()


if __name__ == "__main__":
    what, url = sys.argv[1:]
    print(json.dumps(asyncio.run({"listen": listen, "send": send}[what](make_layer(url)))))
