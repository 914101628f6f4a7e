"""Pages that somebody left open while Redis fails: WebSockets, and what they hear."""

import asyncio
import itertools
import json
import ssl
import threading
import time
from contextlib import suppress
from typing import NamedTuple

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin

from proof.outage.doors import SAY, Door
from proof.outage.ledger import Ledger
from proof.site import Site

SOCKETS, AT_EACH = 20, 5  # at least so many in all, and at each worker
PAUSE = 0.1  # seconds between two events
LAST_EVENTS = 4  # two of each worker
PATIENCE = 30.0  # seconds for sockets to be opened
STILL_ON_ITS_WAY = 5.0  # seconds that the last event is waited for


class Said(NamedTuple):
    """An event, when it was sent, how long the sender waited in ms, and what that raised."""

    name: str
    moment: float
    waited: float
    error: str


class Socket:
    """An open page: since when, at which worker, and when it heard what."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection, self.since, self.is_open = connection, time.monotonic(), True
        self.worker = connection.response.headers["X-Worker"] if connection.response else ""
        self.heard: dict[str, float] = {}
        self.listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        with suppress(ConnectionClosed):
            async for frame in self.connection:
                event = json.loads(frame)
                if event["type"] == "outage":
                    self.heard[event["text"]] = time.monotonic()
        self.is_open = False

    async def close(self) -> None:
        self.listening.cancel()
        await self.connection.close()


class Listeners(threading.Thread):
    """Sockets of one user at all workers, to whom each worker in turn says something.

    One more socket is opened in the middle of the fault.
    """

    def __init__(self, site: Site, email: str, doors: list[Door], ledger: Ledger) -> None:
        super().__init__(daemon=True, name=email)
        self.site, self.doors, self.ledger = site, doors, ledger
        self.turn = itertools.cycle(doors)
        self.sockets: list[Socket] = []
        self.said: list[Said] = []
        self.open = 0  # in the end
        self.ready = threading.Event()
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            asyncio.run(self._use())
        except BaseException as error:
            self.error = error
        finally:
            self.ready.set()

    async def _use(self) -> None:
        assert self.doors[0].log_in(self.name).status_code == 302
        for door in self.doors:
            door.cookies = self.doors[0].cookies
        try:
            async with asyncio.timeout(PATIENCE):
                while not self._are_enough():
                    await self._open()
            self.ready.set()
            before = len(self.sockets)
            while not self.ledger.over.is_set():
                await asyncio.to_thread(self._say)
                if self.ledger.phase == "fault" and len(self.sockets) == before:
                    await self._open()
                await asyncio.sleep(PAUSE)
            deadline = time.monotonic() + STILL_ON_ITS_WAY
            while self._deaf() and time.monotonic() < deadline:
                await asyncio.sleep(PAUSE)
            self.open = sum(socket.is_open for socket in self.sockets)
        finally:
            await asyncio.gather(*(socket.close() for socket in self.sockets))

    def _are_enough(self) -> bool:
        at = [socket.worker for socket in self.sockets]
        return len(at) >= SOCKETS and all(at.count(d.worker) >= AT_EACH for d in self.doors)

    async def _open(self) -> None:
        trust = ssl.create_default_context()
        self.site.authority.configure_trust(trust)
        cookies = "; ".join(f"{name}={text}" for name, text in self.doors[0].cookies.items())
        self.sockets.append(
            Socket(
                await connect(
                    f"{self.site.url.replace('https', 'wss')}/ws/events/",
                    ssl=trust,
                    origin=Origin(self.site.url),
                    additional_headers={"Cookie": cookies},
                    proxy=None,
                    close_timeout=2,
                )
            )
        )

    def _say(self) -> None:
        """Let the next worker tell all sockets something new."""
        name, moment = str(len(self.said)), time.monotonic()
        answer = next(self.turn).post(SAY, data={"name": name})
        if answer.status_code == 200:
            self.said.append(Said(name, moment, **answer.json()))
            self.ledger.note("events")

    def _is_heard(self, said: Said, socket: Socket) -> bool:
        return said.name in socket.heard or said.moment < socket.since

    def _deaf(self) -> list[Socket]:
        """Return the sockets that did not hear the last events."""
        last = self.said[-LAST_EVENTS:]
        return [s for s in self.sockets if not all(self._is_heard(said, s) for said in last)]

    @property
    def are_well(self) -> bool:
        """Whether, after the fault, all hear what all workers say."""
        over = time.monotonic() - self.ledger.since("after")
        late = [said for said in [*self.said] if said.moment > over]
        # But for the one that may be on its way.
        return len(late) > LAST_EVENTS and all(
            self._is_heard(said, socket)
            for said in late[-1 - LAST_EVENTS : -1]
            for socket in self.sockets
        )

    def report(self) -> dict[str, float]:
        """Return what came of them, once they have ended: numbers, `slowest` in ms.

        `again`: seconds from the end of the fault until all who are not deaf heard everything.
        """
        over = time.monotonic() - self.ledger.since("after")
        fault = time.monotonic() - self.ledger.since("fault")
        deaf = self._deaf()
        hearing = [socket for socket in self.sockets if socket not in deaf]
        since = [said for said in self.said if said.moment >= fault]
        again = over
        for said, following in itertools.pairwise(since):
            if not all(self._is_heard(said, socket) for socket in hearing):
                again = max(socket.heard.get(following.name, 0) for socket in hearing)
        return {
            "opened": len(self.sockets),
            "open": self.open,
            "deaf": len(deaf),
            "again": max(again - over, 0),
            "raised": sum(bool(said.error) for said in since),
            "slowest": max((said.waited for said in since), default=0),
        }
