"""Open pages: what sockets cost one process, and how quickly an event is with all of them."""

import asyncio
import json
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Origin

from benchmarks.report import Figures, Row, interleave, percentile
from proof.conftest import module
from proof.site import Browser, Site, free_port

PROFILES = ("database", "redis")
SOCKETS = (100, 1000)
AT_ONCE = 20  # handshakes


def run(rounds: int) -> Iterator[tuple[str, list[Row]]]:
    """Yield a table for each number of sockets, all of one person's pages."""
    servers = module("config.profiles").SERVERS
    with tempfile.TemporaryDirectory(prefix="sockets ") as folder:
        sites = {}
        topology = module("apps.backends.servers").Topology(**servers["redis"])
        with topology:
            for profile in PROFILES:
                variables = topology.environment() if profile in servers else {}
                sites[profile] = Site(Path(folder) / profile, profile, variables)
            for number in SOCKETS:
                subjects = {profile: partial(measure, sites[profile], number) for profile in sites}
                yield f"{number} sockets on one process", interleave(subjects, rounds, "sockets")


def measure(site: Site, number: int) -> Figures:
    """Return the figures of one round, with servers of its own."""
    with site.running(), site.browser() as ada, site.browser() as other:
        ada.log_in()
        other.log_in()
        figures = asyncio.run(_measure(site, site.process.pid, site.url, number, ada, other))
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
        while not answers(port):
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

    async def open_page() -> ClientConnection:
        async with door:
            page = await stack.enter_async_context(
                connect(
                    f"{url.replace('http', 'ws')}/ws/events/",
                    ssl=trust if url.startswith("https") else None,
                    origin=Origin(site.url),
                    additional_headers={"Cookie": cookies},
                    proxy=None,
                )
            )
            await page.recv()  # the first heartbeat: its session has been looked at
            return page

    async with AsyncExitStack() as stack:
        await open_page()  # what the first one loads is not of its kind
        before = memory(pid)
        start = time.perf_counter()
        pages = await asyncio.gather(*(open_page() for _ in range(number)))
        figures = {
            "ms to open": (time.perf_counter() - start) / number * 1000,
            "kB each": (memory(pid) - before) / number,
        }
        if other:
            hearing = asyncio.gather(*(hear(page) for page in pages))
            await asyncio.to_thread(other.log_out)
            delays = await hearing
            figures["ms from event to median page"] = percentile(delays, 0.5) * 1000
            figures["ms to the last"] = max(delays) * 1000
    return figures


async def hear(page: ClientConnection) -> float:
    """Return the seconds between an event and its arrival."""
    while True:
        event = json.loads(await page.recv())
        if event["type"] == "signed_out":
            return time.time() - datetime.fromisoformat(event["time"]).timestamp()


def memory(pid: int) -> float:
    """Return the resident memory of a process in kB (Linux), or nan."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return float("nan")
    return float(status.partition("VmRSS:")[2].split()[0])
