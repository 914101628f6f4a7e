"""The socket of an open page, for synchronous tests."""

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin

from proof.site import Browser, Site

SECOND = 1.0  # what an event and the end of a session may take


async def connect_page(
    site: Site, browser: Browser, *, port: int = 0, cookie: str | None = None, origin: str = ""
) -> ClientConnection:
    """Open the socket of a page in a browser; `cookie`: other cookies than the browser's.

    `port`: of another process of the site. `origin`: another site, whose page opens the socket.
    """
    cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    return await connect(
        f"wss://127.0.0.1:{port or site.port}/ws/events/",
        ssl=site.connection["verify"],
        origin=Origin(origin or site.url),
        additional_headers={"Cookie": cookies if cookie is None else cookie},
        proxy=None,
        close_timeout=2,
    )


@contextmanager
def opened(site: Site, browser: Browser, **options: Any) -> Iterator["Page"]:
    """The socket of a page, for synchronous tests; options as of `connect_page`."""
    with asyncio.Runner() as runner:
        connection = runner.run(connect_page(site, browser, **options))
        try:
            yield Page(runner, connection)
        finally:
            runner.run(connection.close())


class Page:
    """The socket of a page, for synchronous tests.

    (The synchronous client of websockets reads and writes TLS in two threads, and now and
    then they wait for each other.)
    """

    def __init__(self, runner: asyncio.Runner, connection: ClientConnection) -> None:
        self._runner, self._connection = runner, connection

    def send(self, frame: str | bytes) -> None:
        self._runner.run(self._connection.send(frame))

    def _receive(self, deadline: float) -> dict[str, str]:
        async def receive() -> str | bytes:
            async with asyncio.timeout(max(deadline - time.monotonic(), 0)):
                return await self._connection.recv()

        event: dict[str, str] = json.loads(self._runner.run(receive()))
        return event

    def next_event(self, kind: str, seconds: float = SECOND) -> dict[str, str]:
        """Return the next event of a kind."""
        deadline = time.monotonic() + seconds
        while (event := self._receive(deadline))["type"] != kind:
            pass
        return event

    def end(self, seconds: float = SECOND) -> int:
        """Return the code with which the server closes the socket; 1006: without a code."""
        deadline = time.monotonic() + seconds
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                self._receive(deadline)
        return closed.value.rcvd.code if closed.value.rcvd else 1006

    @property
    def is_quiet(self) -> bool:
        """Whether nothing but heartbeats comes within a moment."""
        deadline = time.monotonic() + 0.5
        with suppress(TimeoutError):
            while self._receive(deadline)["type"] == "heartbeat":
                pass
            return False
        return True
