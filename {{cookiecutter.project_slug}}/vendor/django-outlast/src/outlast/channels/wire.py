"""The connection of a process to PostgreSQL, for `PostgresLayer`."""

import asyncio
import atexit
import base64
import logging
import random
import threading
import time
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from .local import SEND_SECONDS, Waiting

if TYPE_CHECKING:
    from .postgres import PostgresLayer

logger = logging.getLogger(__name__)

PING_INTERVAL = 1.0  # seconds of silence after which the server is asked
REPLY_SECONDS = 0.7  # seconds to wait for an answer
CONNECT = 2.0  # seconds for a new connection to one host
RETRY = 0.2  # seconds between two attempts to connect, and up to twice as many

# Commits of messages need not wait for the disk: messages do not have to survive a crash.
NOTIFY = (
    "SELECT set_config('synchronous_commit', 'off', true), pg_notify(%s, part)"
    " FROM unnest(%s::text[]) AS part"
)
POOLED = (
    "Channel layer: the database's address leads to a connection pooler, such as PgBouncer. In "
    "transaction mode it loses live messages: set DATABASE_LISTEN_URL to the address of the "
    "server itself."
)


class Wire(threading.Thread):
    """The connection of a process, in a separate thread with its own event loop.

    A blocked event loop of the site does not affect it, all threads and event loops of the
    process share it, and it works on Windows, where psycopg needs this event loop.
    """

    def __init__(self, layer: "PostgresLayer") -> None:
        super().__init__(daemon=True, name="channels")
        self._layer, self._parameters = layer, layer.parameters()
        self._loop = asyncio.SelectorEventLoop()
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()  # there is something to read or to send
        self._outbox: deque[tuple[list[str], Future[None]]] = deque()
        self._parts: dict[str, list[str]] = {}  # of messages that have not arrived as a whole
        self._listening: Future[None] = Future()
        self._since = 0.0  # when the current attempt to send began
        self._is_away = self._is_closing = False

    # Called by any thread.

    def send(self, parts: list[str]) -> Waiting:
        """Send a message in parts; drop it while the server is known to be unavailable."""
        if self._is_away:
            return []
        sent: Future[None] = Future()
        self._outbox.append((parts, sent))
        self._loop.call_soon_threadsafe(self._wake.set)
        # It is sent if the server answers, but do not wait: the last sender waited too long.
        return [] if 0 < self._since < time.monotonic() - SEND_SECONDS else [sent]

    def listen(self) -> Waiting:
        """Return a future that is done once this process listens; none during an outage."""
        return [] if self._is_away or self._listening.done() else [self._listening]

    def close(self) -> None:
        """Close the connection and end the thread."""
        atexit.unregister(self.close)
        self._is_closing = True
        if self._task:
            with suppress(RuntimeError):  # closed meanwhile
                self._loop.call_soon_threadsafe(self._task.cancel)
        self.join(2)

    # In this thread.

    def run(self) -> None:
        atexit.register(self.close)
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            self._task = self._loop.create_task(self._work())
            if self._is_closing:  # since before there was a task
                self._task.cancel()
            with suppress(asyncio.CancelledError):
                runner.run(asyncio.wait([self._task]))

    async def _work(self) -> None:
        """Send and receive, on another connection when one is lost or silent."""
        while True:
            connection = None
            try:
                connection = await self._connect()
                await self._use(connection)
            except Exception as error:
                self._failed(error)
            finally:
                if connection:
                    await connection.close()
            await asyncio.sleep(RETRY * random.uniform(1, 2))  # noqa: S311

    async def _connect(self) -> Any:
        hosts = str(self._parameters.get("host", "")).count(",") + 1
        async with asyncio.timeout((CONNECT + 0.5) * hosts):
            return await psycopg.AsyncConnection.connect(
                autocommit=True, prepare_threshold=None, **self._parameters
            )

    async def _use(self, connection: Any) -> None:
        self._parts.clear()
        connection.add_notify_handler(lambda notify: self._receive_part(notify.payload))
        name = sql.Identifier(self._layer.prefix)
        await self._ask(connection, sql.SQL("LISTEN {}").format(name))
        cursor = await self._ask(connection, "SELECT pg_backend_pid()")
        if await cursor.fetchone() != (connection.info.backend_pid,):
            logger.error(POOLED)
        self._works()
        while True:
            if self._outbox:
                await self._send(connection)
            elif await self._is_silent(connection):
                await self._ask(connection, "SELECT 1")

    async def _is_silent(self, connection: Any) -> bool:
        """Receive, until there is something to send; return whether nothing happens."""
        self._loop.add_reader(connection.fileno(), self._wake.set)
        try:
            async with asyncio.timeout(PING_INTERVAL):
                await self._wake.wait()
        except TimeoutError:
            return True
        finally:
            self._loop.remove_reader(connection.fileno())
        self._wake.clear()
        connection.pgconn.consume_input()
        while notify := connection.pgconn.notifies():
            self._receive_part(notify.extra.decode())
        return False

    async def _send(self, connection: Any) -> None:
        """Send all waiting messages."""
        batch = [self._outbox.popleft() for _ in range(len(self._outbox))]
        parts = [part for parts, _sent in batch for part in parts]
        self._since = time.monotonic()
        try:
            seconds = REPLY_SECONDS + len(parts) / 500  # the largest message has 1,500 parts
            await self._ask(connection, NOTIFY, [self._layer.prefix, parts], seconds)
        finally:
            self._since = 0.0
            for _parts, sent in batch:
                sent.set_result(None)

    async def _ask(
        self, connection: Any, query: Any, values: Any = None, seconds: float = REPLY_SECONDS
    ) -> Any:
        """Return the cursor of a query; raise TimeoutError if there is no answer in time.

        If the query were cancelled, psycopg would wait ten seconds for the silent server.
        """
        answer = self._loop.create_task(connection.execute(query, values))
        await asyncio.wait([answer], timeout=seconds)
        if not answer.done():
            connection.pgconn.finish()
            answer.cancel()
            await asyncio.gather(answer, return_exceptions=True)
            raise TimeoutError
        return answer.result()

    def _receive_part(self, payload: str) -> None:
        """Take a part of a message, and deliver the message with its last part."""
        try:
            address, ident, left, text = payload.split(" ", 3)
            if address not in self._layer._groups and address not in self._layer._channels:
                self._parts.pop(ident, None)  # the last receiver has left since the first part
                return
            parts = self._parts.setdefault(ident, [])
            parts.append(text)
            if left == "0":
                del self._parts[ident]
                self._layer._deliver(address, base64.b64decode("".join(parts)))
        except ValueError:
            logger.warning("Channel layer: ignored %d bytes: not a message.", len(payload))

    def _failed(self, error: Exception) -> None:
        """Record an outage, and log its start."""
        if not isinstance(error, (psycopg.Error, OSError)):
            logger.exception("Channel layer: an unexpected error closed the connection.")
        self._layer.last_error = error
        self._listening = Future()
        if not self._is_away:
            self._is_away = True
            logger.warning(
                "Channel layer: PostgreSQL cannot be used (%s). WebSockets stay open; "
                "messages are dropped until it can be used again.",
                str(error).strip() or "no answer in time",
            )

    def _works(self) -> None:
        if self._is_away:
            self._outbox.clear()  # messages of the outage must not arrive after it
            self._is_away = False
            logger.warning("Channel layer: PostgreSQL can be used again.")
        self._listening.set_result(None)
