"""What tests of channel layers share: listeners, messages during faults, hung connections."""

import asyncio
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from django.db import connections
from outlast.channels.redis import PubSubLayer

from tests.servers import SERVICE, Topology

DEADLINE = 10  # seconds, for what takes milliseconds
SEND_TIMEOUT = 0.3  # seconds that a sender waits; not the library's own constant, which may change
TOLERANCE = 2  # seconds, for a machine that is busy; without a bound these waits last 5 or more


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(coroutine, 30))


async def receive(layer: Any, channel: str) -> Any:
    return await asyncio.wait_for(layer.receive(channel), DEADLINE)


async def receives_nothing(layer: Any, channel: str) -> bool:
    with suppress(TimeoutError):
        await asyncio.wait_for(layer.receive(channel), 0.3)
        return False
    return True


class Traffic:
    """Messages to a group, twenty a second: when each was sent and received, and how fast."""

    def __init__(self, here: Any, there: Any) -> None:
        self.here, self.there = here, there
        self.received: list[float] = []
        self.slowest = 0.0

    async def __aenter__(self) -> "Traffic":
        channel = await self.here.new_channel()
        await self.here.group_add("group", channel)
        self.tasks = [
            asyncio.create_task(self._receive(channel)),
            asyncio.create_task(self._send()),
        ]
        await self.receives_within(DEADLINE)
        return self

    async def _receive(self, channel: str) -> None:
        while True:
            self.received.append((await self.here.receive(channel))["at"])

    async def _send(self) -> None:
        while True:
            started = time.monotonic()
            await self.there.group_send("group", {"type": "x", "at": started})
            self.slowest = max(self.slowest, time.monotonic() - started)
            await asyncio.sleep(0.05)

    async def receives_within(self, seconds: float) -> None:
        since = time.monotonic()
        while not any(at > since for at in self.received):
            assert time.monotonic() < since + seconds, "still no message"
            await asyncio.sleep(0.01)

    async def __aexit__(self, *exception: object) -> None:
        for task in self.tasks:
            assert not task.done(), task
            task.cancel()


class Proxy:
    """A TCP proxy with a delay; after `lead_to` another server, existing connections hang.

    Unless `passes` is set, it holds back what it gets.
    """

    def __init__(self, port: int, delay: float = 0) -> None:
        self._behind, self._delay = port, delay
        self._passing: list[asyncio.Task[None]] = []
        self._ends: list[asyncio.StreamWriter] = []
        self.passes = asyncio.Event()
        self.passes.set()

    async def __aenter__(self) -> "Proxy":
        self._server = await asyncio.start_server(self._connected, "127.0.0.1")
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self._behind)
        self._ends += [writer, other_writer]
        for source, target in ((reader, other_writer), (other_reader, writer)):
            self._passing.append(asyncio.create_task(self._pass_on(source, target)))

    async def _pass_on(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await source.read(65536):
                await asyncio.sleep(self._delay / 2)  # once on the way there, once back
                await self.passes.wait()
                target.write(data)

    def lead_to(self, port: int) -> None:
        self._behind = port
        for task in self._passing:
            task.cancel()

    async def __aexit__(self, *exception: object) -> None:
        for task in self._passing:
            task.cancel()
        for end in self._ends:
            end.close()
        self._server.close()


def name_database(port: int, name: str = "postgres") -> None:
    """Let the database "pg" of the settings be at this port."""
    server = {"HOST": "127.0.0.1", "PORT": port, "USER": "site", "NAME": name}
    database = {"ENGINE": "django.db.backends.postgresql", **server}
    connections.settings["pg"] = connections.configure_settings(
        {"default": database, "pg": database}
    )["pg"]


def make_layer(topology: Topology, prefix: str = "site", **options: Any) -> PubSubLayer:
    """Return a layer, configured as in config/profiles.py of a site."""
    login = {"password": topology.password or None}
    if not topology.sentinels:
        address = f"redis://127.0.0.1:{topology.primary.port}/0"
        return PubSubLayer([{"address": address, **login}], prefix, **options)
    host = {
        "sentinels": [("127.0.0.1", sentinel.port) for sentinel in topology.sentinels],
        "master_name": SERVICE,
        "sentinel_kwargs": {"password": topology.sentinel_password or None},
        **login,
    }
    return PubSubLayer([host], prefix, **options)
