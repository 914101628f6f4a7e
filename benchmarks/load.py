"""Sites to load, and a load of keep-alive connections that costs little itself: plain sockets."""

import asyncio
import copy
import itertools
import os
import sys
import time
from contextlib import suppress
from pathlib import Path

from proof.site import Site, free_port

OVERLAY = Path(__file__).parent / "overlay"
TIME_LIMIT = 60.0  # seconds for the last answers


def second_server(site: Site, variables: dict[str, str]) -> Site:
    """Return a second server of the same folder, with a port and variables of its own."""
    other = copy.copy(site)
    vars(other).pop("connection", None)  # the first one's
    other.port = free_port()
    other.url = f"https://127.0.0.1:{other.port}"
    other.variables = site.variables | variables | {"SITE_URL": other.url}
    return other


def browse(
    site: Site, cookies: list[str], connections: int, seconds: float, pause: float = 0
) -> tuple[list[float], float]:
    """Return the seconds that each dashboard took, and how many answers came per second.

    So many connections ask all the time, with each of the cookies in turn.
    `pause`: seconds between an answer and the next request of its connection.

    Raises RuntimeError for anything but 200: a redirect to the login page is quick.
    """
    head = f"GET /dashboard/ HTTP/1.1\r\nHost: 127.0.0.1:{site.port}\r\nCookie: "
    asks = itertools.cycle([f"{head}{cookie}\r\n\r\n".encode() for cookie in cookies])

    async def load() -> tuple[list[float], float]:
        trust = site.connection["verify"]
        streams = [
            await asyncio.open_connection("127.0.0.1", site.port, ssl=trust)
            for _ in range(connections)
        ]
        took: list[float] = []
        began = time.perf_counter()

        async def person(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while (start := time.perf_counter()) < began + seconds:
                writer.write(next(asks))
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                if b" 200 " not in head.partition(b"\r\n")[0]:
                    raise RuntimeError(f"not the dashboard: {head!r}")
                length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(length))
                took.append(time.perf_counter() - start)
                await asyncio.sleep(pause)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

        await asyncio.gather(*(person(*stream) for stream in streams))
        return took, len(took) / (time.perf_counter() - began)

    return asyncio.run(asyncio.wait_for(load(), seconds + TIME_LIMIT))


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process and of its children (Linux), or nan."""
    if sys.platform == "win32":
        return float("nan")
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return float("nan")
    own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return own + sum(cpu_seconds(int(child)) for child in children)
