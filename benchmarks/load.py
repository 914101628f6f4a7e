"""A load of keep-alive connections that costs little itself: plain sockets, no HTTP library."""

import asyncio
import os
import ssl
import time
from pathlib import Path

from proof.site import Site


def browse(site: Site, cookie: str, connections: int, seconds: float, path: str) -> list[float]:
    """Ask for `path` over and over; return the seconds that each answer took.

    Raises RuntimeError for anything but 200: a redirect to the login page is quick.
    """
    return asyncio.run(_browse(site, cookie, connections, seconds, path))


async def _browse(
    site: Site, cookie: str, connections: int, seconds: float, path: str
) -> list[float]:
    trust = ssl.create_default_context()
    site.authority.configure_trust(trust)
    ask = (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{site.port}\r\nCookie: {cookie}\r\n\r\n"
    ).encode()
    end = time.perf_counter() + seconds
    took: list[float] = []

    async def person() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port, ssl=trust)
        while (start := time.perf_counter()) < end:
            writer.write(ask)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(head.decode())
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length))
            took.append(time.perf_counter() - start)
        writer.close()

    await asyncio.gather(*(person() for _ in range(connections)))
    return took


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process (Linux), or nan."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
