"""WebSockets of open pages while Redis fails, and the events they receive."""

import asyncio
import itertools
import json
import threading
import time
from contextlib import suppress
from typing import NamedTuple

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from proof.outage.client import SEND, Client
from proof.outage.result import Result
from proof.page import connect_page
from proof.site import Site

SOCKETS, AT_EACH = 20, 5  # at least so many in all, and at each worker
PAUSE = 0.1  # seconds between two events
LAST_EVENTS = 4  # two of each worker
OPEN_SECONDS = 30.0  # in which all sockets have to be open
LAST_EVENT_SECONDS = 5.0  # in which the last event has to arrive


class Event(NamedTuple):
    """When an event was sent, how long the sender waited in ms, and what that raised."""

    name: str
    moment: float
    waited: float
    error: str


class Socket:
    """An open page: since when, at which worker, and when it received what."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection, self.since, self.is_open = connection, time.monotonic(), True
        self.worker = connection.response.headers["X-Worker"] if connection.response else ""
        self.received: dict[str, float] = {}
        self.listening = asyncio.create_task(self._listen())

    def has(self, event: Event) -> bool:
        """Whether the event was received, or sent before this socket was open."""
        return event.name in self.received or event.moment < self.since

    async def _listen(self) -> None:
        with suppress(ConnectionClosed):
            async for frame in self.connection:
                event = json.loads(frame)
                if event["type"] == "outage":
                    self.received[event["text"]] = time.monotonic()
        self.is_open = False

    async def close(self) -> None:
        self.listening.cancel()
        await self.connection.close()


class Sockets:
    """Sockets of one user at all workers; each worker in turn sends an event to them.

    One more socket is opened in the middle of the fault.
    """

    def __init__(self, site: Site, email: str, clients: list[Client], result: Result) -> None:
        self.site, self.email, self.clients, self.result = site, email, clients, result
        self.turn = itertools.cycle(clients)
        self.sockets: list[Socket] = []
        self.events: list[Event] = []
        self.open = 0  # at the end
        self.ready = threading.Event()

    def run(self) -> None:
        try:
            asyncio.run(self._use())
        finally:
            self.ready.set()

    async def _use(self) -> None:
        assert self.clients[0].log_in(self.email).status_code == 302
        for client in self.clients:
            client.cookies = self.clients[0].cookies
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                while not self._are_enough():
                    await self._open()
            self.ready.set()
            before = len(self.sockets)
            while not self.result.over.is_set():
                await asyncio.to_thread(self._send)
                if self.result.phase == "fault" and len(self.sockets) == before:
                    await self._open()
                await asyncio.sleep(PAUSE)
            deadline = time.monotonic() + LAST_EVENT_SECONDS
            while self._silent() and time.monotonic() < deadline:
                await asyncio.sleep(PAUSE)
            self.open = sum(socket.is_open for socket in self.sockets)
        finally:
            await asyncio.gather(*(socket.close() for socket in self.sockets))

    def _are_enough(self) -> bool:
        at = [socket.worker for socket in self.sockets]
        return len(at) >= SOCKETS and all(at.count(c.worker) >= AT_EACH for c in self.clients)

    async def _open(self) -> None:
        connection = await connect_page(self.site, self.clients[0])
        self.sockets.append(Socket(connection))

    def _send(self) -> None:
        """Let the next worker send a new event to all sockets."""
        name, moment = str(len(self.events)), time.monotonic()
        answer = next(self.turn).post(SEND, data={"name": name})
        if answer.status_code == 200:
            self.events.append(Event(name, moment, **answer.json()))
            self.result.count("events")

    def _silent(self) -> list[Socket]:
        """Return the sockets that did not receive the last events."""
        last = self.events[-LAST_EVENTS:]
        return [socket for socket in self.sockets if not all(map(socket.has, last))]

    @property
    def all_receive(self) -> bool:
        """Whether, after the fault, all sockets receive what all workers send."""
        over = time.monotonic() - self.result.since("after")
        late = [event for event in [*self.events] if event.moment > over]
        # The last one may still be on its way.
        return len(late) > LAST_EVENTS and all(
            socket.has(event) for event in late[-1 - LAST_EVENTS : -1] for socket in self.sockets
        )

    def report(self) -> dict[str, float]:
        """Return counts, `slowest` in ms and `again` in seconds, once the sockets have ended.

        `again`: from the end of the fault until all sockets but the silent ones received all.
        """
        over = time.monotonic() - self.result.since("after")
        fault = time.monotonic() - self.result.since("fault")
        silent = self._silent()
        receiving = [socket for socket in self.sockets if socket not in silent]
        since = [event for event in self.events if event.moment >= fault]
        again = over
        for event, following in itertools.pairwise(since):
            if not all(socket.has(event) for socket in receiving):
                again = max(socket.received.get(following.name, 0) for socket in receiving)
        return {
            "opened": len(self.sockets),
            "open": self.open,
            "silent": len(silent),
            "again": max(again - over, 0),
            "raised": sum(bool(event.error) for event in since),
            "slowest": max((event.waited for event in since), default=0),
        }
