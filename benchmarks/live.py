"""Open pages: what sockets cost one process, and how quickly an event is with all of them.

Every page is one person's, who logs out in one of them: the others hear of it.
"""

import asyncio
import json
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Origin

from benchmarks.load import generate, kilobytes
from benchmarks.report import Figures, Table, interleave, percentile, progress
from proof.conftest import module
from proof.site import Browser, Site, free_port

PROFILES = ("database", "redis")
SOCKETS = (100, 1000)
AT_ONCE = 20  # handshakes
TIME_LIMIT = 60.0  # seconds


def run(rounds: int) -> Iterator[Table]:
    """Yield a table for each number of sockets."""
    progress("live: generating the sites")
    allow_open_files(4 * max(SOCKETS))
    servers = module("config.profiles").SERVERS
    with tempfile.TemporaryDirectory(prefix="live ") as folder:
        sites = {}
        topology = module("outlast.servers").Topology(**servers["redis"])
        with topology:
            for profile in PROFILES:
                variables = topology.environment() if profile in servers else {}
                sites[profile] = generate(Path(folder) / profile, profile, variables)
            for number in SOCKETS:
                subjects = {profile: partial(measure, sites[profile], number) for profile in sites}
                title = f"live: {number} sockets on one process"
                yield Table(title, interleave(subjects, rounds, title))


def allow_open_files(number: int) -> None:
    """Let this process, and those it starts, open so many files where the system permits it.

    Shells often allow 1024, of which a thousand sockets leave too few.
    """
    if sys.platform == "win32":
        return
    import resource  # not there

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < number:
        most = number if hard == resource.RLIM_INFINITY else min(number, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def measure(site: Site, number: int) -> Figures:
    """Return the figures of one round, with servers of its own."""
    with site.running(), site.browser() as ada, site.browser() as other:
        ada.log_in()
        other.log_in()
        figures = asyncio.run(_measure(site, site.process.pid, site.url, number, ada, other))
        if number > SOCKETS[0]:
            return figures
        with behind_a_proxy(site) as (pid, url):
            plain = asyncio.run(_measure(site, pid, url, number, ada))
    return figures | {"kB each, TLS ending at a proxy": plain["kB each"]}


@contextmanager
def behind_a_proxy(site: Site) -> Iterator[tuple[int, str]]:
    """Serve the site without TLS, as where a proxy speaks it."""
    port = free_port()
    command = [word for word in site.serve_command(1, port) if not word.startswith("--ssl")]
    server = subprocess.Popen(
        command, cwd=site.folder, env=site.environment, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + TIME_LIMIT
        while not answers(port):
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("The site without TLS did not start.")
            time.sleep(0.05)
        yield server.pid, f"http://127.0.0.1:{port}"
    finally:
        site.stop(server)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def _measure(
    site: Site, pid: int, url: str, number: int, ada: Browser, other: Browser | None = None
) -> Figures:
    trust = ssl.create_default_context()
    site.authority.configure_trust(trust)
    cookies = "; ".join(f"{name}={value}" for name, value in ada.cookies.items())
    door = asyncio.Semaphore(AT_ONCE)

    handshakes: list[float] = []

    async def open_page() -> ClientConnection:
        async with door:
            start = time.perf_counter()
            page = await stack.enter_async_context(
                connect(
                    f"{url.replace('http', 'ws')}/ws/events/",
                    ssl=trust if url.startswith("https") else None,
                    origin=Origin(site.url),
                    additional_headers={"Cookie": cookies},
                    proxy=None,
                    open_timeout=TIME_LIMIT,
                    ping_interval=None,
                )
            )
            await page.recv()  # the first heartbeat: its session has been looked at
            handshakes.append(time.perf_counter() - start)
            return page

    async with AsyncExitStack() as stack:
        await open_page()  # what the first one loads is not of its kind
        handshakes.clear()
        before = kilobytes(pid)
        start = time.perf_counter()
        pages = await asyncio.gather(*(open_page() for _ in range(number)))
        figures = {
            "s until all are open": time.perf_counter() - start,
            "ms to connect, p50": percentile(handshakes, 0.5) * 1000,
            "ms to connect, p99": percentile(handshakes, 0.99) * 1000,
            "kB each": (kilobytes(pid) - before) / number,
        }
        if other:
            hearing = asyncio.gather(*(hear(page) for page in pages))
            await asyncio.to_thread(other.log_out)
            delays = await asyncio.wait_for(hearing, TIME_LIMIT)
            figures["ms until an event is there, p50"] = percentile(delays, 0.5) * 1000
            figures["ms until an event is there, p99"] = percentile(delays, 0.99) * 1000
    return figures


async def hear(page: ClientConnection) -> float:
    """Return the seconds between an event and its arrival."""
    while True:
        event = json.loads(await page.recv())
        if event["type"] == "signed_out":
            return time.time() - datetime.fromisoformat(event["time"]).timestamp()
