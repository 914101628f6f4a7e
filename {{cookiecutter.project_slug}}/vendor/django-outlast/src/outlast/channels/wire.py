"""The two connections of a process to PostgreSQL, for `PostgresLayer`."""

import asyncio
import atexit
import logging
import random
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from .local import PATIENCE, Waiting

if TYPE_CHECKING:
    from .postgres import PostgresLayer

logger = logging.getLogger(__name__)

BEAT = 1.0  # seconds of silence after which the listener asks the server
ANSWER = 0.7  # seconds that it waits for an answer
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
    """The connections of a process, in a separate thread with its own event loop.

    A blocked event loop of the site does not affect them, all threads and event loops of the
    process share them, and they work on Windows, where psycopg needs this event loop.
    """

    def __init__(self, layer: "PostgresLayer") -> None:
        super().__init__(daemon=True, name="channels")
        self._layer, self._parameters = layer, layer.parameters()
        self._loop = asyncio.SelectorEventLoop()
        self._closed, self._listening = asyncio.Event(), asyncio.Event()
        self._outbox: list[str] = []
        self._sending = asyncio.Lock()
        self._sender: Any = None  # the connection
        self._listener: asyncio.Task[None] | None = None
        self._since = 0.0  # when the current attempt to send began
        self._dropping_until = 0.0
        self._is_away = False

    # Called by any thread.

    def send(self, parts: list[str]) -> Waiting:
        """Send a message in parts; drop it while the server is known to be unavailable."""
        now = time.monotonic()
        if now < self._dropping_until:
            return []
        sent = asyncio.run_coroutine_threadsafe(self._send(parts), self._loop)
        # It is sent if the server answers, but do not wait: others have waited without success.
        return [] if 0 < self._since < now - PATIENCE else [sent]

    def listen(self) -> Waiting:
        """Return a future that is done once this process listens; None during an outage."""
        if self._listening.is_set():
            return []
        listening = asyncio.run_coroutine_threadsafe(self._start_listening(), self._loop)
        return [] if self._is_away else [listening]

    def close(self) -> None:
        """Close the connections and end the thread."""
        atexit.unregister(self.close)
        with suppress(RuntimeError):  # closed meanwhile
            self._loop.call_soon_threadsafe(self._closed.set)
        self.join(2)

    # In this thread.

    def run(self) -> None:
        atexit.register(self.close)
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._closed.wait())
            if self._sender:
                runner.run(self._sender.close())

    async def _send(self, parts: list[str]) -> None:
        """Send all waiting messages; the first caller sends for all."""
        self._outbox += parts
        async with self._sending:
            batch, self._outbox = self._outbox, []
            if not batch:
                return
            self._since = time.monotonic()
            try:
                await self._notify(batch)
                self._works()
            except Exception as error:
                self._dropping_until = time.monotonic() + RETRY
                self._outbox.clear()  # it must not arrive when the outage is over
                self._failed(error)
            finally:
                self._since = 0.0

    async def _notify(self, parts: list[str]) -> None:
        """Send on the connection, or on a new one if it was lost while idle."""
        seconds = ANSWER + len(parts) / 500  # the largest message has 1,500 parts
        for connection in (self._sender, None):
            self._sender = connection or await self._connect()
            try:
                await self._ask(self._sender, NOTIFY, [self._layer.prefix, parts], seconds)
                return
            except Exception as error:
                await self._sender.close()
                self._sender = None
                if connection is None or not isinstance(error, psycopg.OperationalError):
                    raise

    async def _start_listening(self) -> None:
        if self._listener is None:
            self._listener = self._loop.create_task(self._listen())
        await self._listening.wait()

    async def _listen(self) -> None:
        """Receive all messages, on another connection when one is lost or silent."""
        while True:
            connection = None
            try:
                connection = await self._connect()
                self._layer.parts.clear()
                name = sql.Identifier(self._layer.prefix)
                await self._ask(connection, sql.SQL("LISTEN {}").format(name))
                cursor = await self._ask(connection, "SELECT pg_backend_pid()")
                if await cursor.fetchone() != (connection.info.backend_pid,):
                    logger.error(POOLED)
                self._works()
                self._listening.set()
                while True:
                    async for notify in connection.notifies(timeout=BEAT):
                        self._layer.hear(notify.payload)
                    await self._ask(connection, "SELECT 1")
            except Exception as error:
                self._failed(error)
            finally:
                self._listening.clear()
                if connection:
                    await connection.close()
            await asyncio.sleep(RETRY * random.uniform(1, 2))  # noqa: S311

    async def _connect(self) -> Any:
        hosts = str(self._parameters.get("host", "")).count(",") + 1
        async with asyncio.timeout((CONNECT + 0.5) * hosts):
            return await psycopg.AsyncConnection.connect(
                autocommit=True, prepare_threshold=None, **self._parameters
            )

    async def _ask(
        self, connection: Any, query: Any, values: Any = None, seconds: float = ANSWER
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

    def _failed(self, error: Exception) -> None:
        """Record an outage, and log its start."""
        if not isinstance(error, (psycopg.Error, OSError)):
            logger.exception("Channel layer: a connection ended because of a bug.")
        self._layer.last_error = error
        if not self._is_away:
            self._is_away = True
            logger.warning(
                "Channel layer: PostgreSQL cannot be used (%s). WebSockets stay open; "
                "messages are dropped until it can be used again.",
                str(error).strip() or "no answer in time",
            )

    def _works(self) -> None:
        if self._is_away:
            self._is_away = False
            logger.warning("Channel layer: PostgreSQL can be used again.")
