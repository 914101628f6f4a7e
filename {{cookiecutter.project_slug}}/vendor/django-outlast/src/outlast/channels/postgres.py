"""A channel layer between all processes of a site, on PostgreSQL's LISTEN and NOTIFY.

It needs no table, and two connections per process: one sends, one listens. Every process
receives every message, and keeps those for channels and groups that it has.
"""

import asyncio
import atexit
import base64
import logging
import random
import threading
import uuid
import weakref
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

import psycopg
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.db.backends.base.base import NO_DB_ALIAS
from django.db.backends.signals import connection_created
from django.dispatch import receiver
from psycopg import sql

from .local import PATIENCE, LocalLayer

logger = logging.getLogger(__name__)

PART = 7700  # characters: with its header a part stays below NOTIFY's limit of 8,000 bytes
BATCH = 200  # messages sent in one transaction
BEAT = 1.0  # seconds of silence after which the listener asks the server
ANSWER = 0.7  # seconds that it waits for an answer
CONNECT = 2.0  # seconds for a new connection to one host
RETRY = 0.2  # seconds between two attempts to connect, and up to twice as many

# The commit of a message alone needs not wait for the disk; nothing of it must survive a crash.
NOTIFY = (
    "SELECT set_config('synchronous_commit', 'off', true), pg_notify(%s, part)"
    " FROM unnest(%s::text[]) AS part"
)
POOLED = (
    "Channel layer: the database's address leads to a connection pooler, such as PgBouncer. In "
    "transaction mode it loses live messages: set DATABASE_LISTEN_URL to the address of the "
    "server itself."
)

Sent = tuple[list[str], "Future[None]"]


class PostgresLayer(LocalLayer):
    """`LocalLayer` for all processes that use the same database.

    `listen` names the database to connect to, `using` by default; another one is needed where
    `using` leads through a connection pooler. `prefix` is the name of the NOTIFY channel.
    """

    def __init__(self, *, listen: str = "", prefix: str = "outlast", **options: Any) -> None:
        super().__init__(**options)
        self.listen, self.prefix = listen or self.using, prefix
        self.last_error: BaseException | None = None  # for the doctor
        self._wire: Wire | None = None
        self._parts: dict[str, list[str]] = {}  # of messages that have not arrived as a whole
        _layers.add(self)

    def connect(self) -> "Wire":
        """Return the connections of this process, made at the first use."""
        with self._lock:
            if self._wire is None or not self._wire.is_alive():  # not alive: after a fork
                self._wire = Wire(self)
                self._wire.start()
            return self._wire

    def disconnect(self) -> None:
        """Close the connections until the layer is used again."""
        with self._lock:
            wire, self._wire = self._wire, None
        if wire:
            wire.close()

    def _publish(self, kind: str, name: str, data: bytes) -> "Future[None]":
        text, ident = base64.b64encode(data).decode(), uuid.uuid4().hex
        starts = range(0, len(text), PART)
        return self.connect().send(
            [
                f"{kind} {name} {ident} {left} {text[start : start + PART]}"
                for start, left in zip(starts, reversed(range(len(starts))), strict=True)
            ]
        )

    def _gave_up(self) -> None:
        if self._wire:
            self._wire.is_slow = True

    async def _listening(self) -> None:
        """Wait, no longer than a sender does, until this process listens."""
        listening = self.connect().listen()
        if listening and not listening.done():
            await asyncio.wait([asyncio.wrap_future(listening)], timeout=PATIENCE)

    async def group_add(self, group: str, channel: str) -> None:
        """Add a channel of this process to a group; messages sent from now on are received."""
        await super().group_add(group, channel)
        await self._listening()

    def hear(self, payload: str) -> None:
        """Take a part of a message, and deliver the message with its last part."""
        try:
            kind, name, ident, left, text = payload.split(" ", 4)
            with self._lock:
                known = name in (self._channels if kind == "channel" else self._groups)
            if not known:
                return
            parts = self._parts.setdefault(ident, [])
            parts.append(text)
            if left == "0":
                del self._parts[ident]
                self._deliver(kind, name, base64.b64decode("".join(parts)))
        except ValueError:
            if payload:  # an empty one tried whether sending works
                logger.warning("Channel layer: ignored %d bytes, no message.", len(payload))

    def forget_parts(self) -> None:
        """Forget what will not be completed: the connection was lost."""
        self._parts.clear()

    def parameters(self) -> dict[str, Any]:
        """Return how to connect: as Django does, without what is for its own cursors."""
        wrapper = connections[self.listen]
        if wrapper.vendor != "postgresql":
            raise ImproperlyConfigured(
                f"PostgresLayer needs PostgreSQL, but the database {self.listen!r} is "
                f"{wrapper.display_name}."
            )
        of_django = ("cursor_factory", "context", "prepare_threshold")
        given = {k: v for k, v in wrapper.get_connection_params().items() if k not in of_django}
        return {"application_name": "channels", **given, "connect_timeout": int(CONNECT)}


class Wire(threading.Thread):
    """The connections of a process, in a thread and an event loop of their own.

    So a busy or blocked event loop of the site is no outage, all threads and event loops of
    the process share them, and they work on Windows, where uvicorn's event loop suits psycopg
    not.
    """

    def __init__(self, layer: PostgresLayer) -> None:
        super().__init__(daemon=True, name="channels")
        self._layer, self._parameters = layer, layer.parameters()
        self._loop = asyncio.SelectorEventLoop()
        self._lock = threading.Lock()
        self._wake = asyncio.Event()
        self._outbox: list[Sent] = []
        self._batch: list[Sent] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._listener = False
        self._listening: Future[None] = Future()
        self._broken: set[str] = set()
        self.is_slow = False  # a sender has waited in vain: the next ones do not wait

    # Called by any thread.

    def send(self, parts: list[str]) -> "Future[None]":
        """Queue a message of some parts; drop it while the server is known to be away."""
        sent: Future[None] = Future()
        with self._lock:
            if "sending" in self._broken:
                sent.set_result(None)
                return sent
            self._outbox.append((parts, sent))
            first = len(self._outbox) == 1
        if first:
            self._call(self._wake.set)
        if self.is_slow:  # it is sent all the same, if the server answers
            sent = Future()
            sent.set_result(None)
        return sent

    def listen(self) -> "Future[None] | None":
        """Return what is done as soon as this process listens, None if it is known to be deaf."""
        with self._lock:
            if not self._listener:
                self._listener = True
                self._call(self._keep, "listening", self._listen)
            return None if "listening" in self._broken else self._listening

    def failed(self, part: str, error: BaseException) -> None:
        """Take notice of an outage; say so if it begins."""
        self._layer.last_error = error
        with self._lock:
            begins = not self._broken
            self._broken.add(part)
        self._call(self._wake.set)
        if begins:
            logger.warning(
                "Channel layer: PostgreSQL cannot be used (%s). Sockets stay open; messages are "
                "dropped until it can.",
                str(error).strip() or "no answer in time",
            )

    def works(self, part: str) -> None:
        """Take notice of the end of an outage."""
        with self._lock:
            ends = self._broken == {part}
            self._broken.discard(part)
        if ends:
            logger.warning("Channel layer: PostgreSQL can be used again.")

    def close(self) -> None:
        """Close the connections and end the thread."""
        atexit.unregister(self.close)
        self._call(lambda: [task.cancel() for task in self._tasks])
        self._call(self._loop.stop)
        self.join(2)

    def _call(self, function: Callable[..., object], *arguments: object) -> None:
        with suppress(RuntimeError):  # closed meanwhile
            self._loop.call_soon_threadsafe(function, *arguments)

    # In this thread.

    def run(self) -> None:
        atexit.register(self.close)
        asyncio.set_event_loop(self._loop)
        self._loop.call_soon(self._keep, "sending", self._send)
        self._loop.run_forever()
        self._loop.run_until_complete(asyncio.gather(*self._tasks, return_exceptions=True))
        self._loop.close()

    def _keep(self, part: str, use: Callable[[Any], Awaitable[None]]) -> None:
        self._tasks.append(self._loop.create_task(self._reconnect(part, use)))

    async def _reconnect(self, part: str, use: Callable[[Any], Awaitable[None]]) -> None:
        """Use a connection, and another one when it is lost, until the thread ends."""
        while True:
            if part == "sending" and not (self._batch or part in self._broken):
                await self._wake.wait()
            connection = None
            try:
                hosts = str(self._parameters.get("host", "")).count(",") + 1
                async with asyncio.timeout((CONNECT + 0.5) * hosts):
                    connection = await psycopg.AsyncConnection.connect(
                        autocommit=True, prepare_threshold=None, **self._parameters
                    )
                await use(connection)
            except Exception as error:
                if not isinstance(error, (psycopg.Error, OSError)):
                    logger.exception("Channel layer: a connection ended by a mistake of ours.")
                self.failed(part, error)
                if part == "sending":
                    self._drop()
                await asyncio.sleep(RETRY * random.uniform(1, 2))  # noqa: S311
            finally:
                if connection:
                    await connection.close()

    async def _send(self, connection: Any) -> None:
        """Send what gathers. A connection that was lost while idle costs no message."""
        used = False
        while True:
            self._wake.clear()
            if self._batch or self._take_batch() or "sending" in self._broken:
                parts = [part for parts, _ in self._batch for part in parts] or [""]
                try:
                    seconds = ANSWER + len(parts) / 500  # the largest message has 1,500 parts
                    await self._ask(connection, NOTIFY, [self._layer.prefix, parts], seconds)
                except (psycopg.OperationalError, OSError):
                    if used:
                        return
                    raise
                used = True
                self.works("sending")
                self._done()
            else:
                await self._wake.wait()

    def _take_batch(self) -> bool:
        with self._lock:
            number = parts = 0
            while number < len(self._outbox) and parts < BATCH:
                parts += len(self._outbox[number][0])
                number += 1
            self._batch, self._outbox = self._outbox[:number], self._outbox[number:]
        return bool(self._batch)

    def _done(self) -> None:
        self.is_slow = False
        for _, sent in self._batch:
            sent.set_result(None)
        self._batch = []

    def _drop(self) -> None:
        """Drop what could not be sent: it must not arrive when the outage is over."""
        self._done()
        while self._take_batch():
            self._done()

    async def _listen(self, connection: Any) -> None:
        """Receive all messages; raise when the connection is lost or the server is silent."""
        self._layer.forget_parts()
        name = sql.Identifier(self._layer.prefix)
        await self._ask(connection, sql.SQL("LISTEN {}").format(name))
        cursor = await self._ask(connection, "SELECT pg_backend_pid()")
        if await cursor.fetchone() != (connection.info.backend_pid,):
            logger.error(POOLED)
        self.works("listening")
        self._listening.set_result(None)
        try:
            while True:
                async for notify in connection.notifies(timeout=BEAT):
                    self._layer.hear(notify.payload)
                await self._ask(connection, "SELECT 1")
        finally:
            self._listening = Future()

    async def _ask(
        self, connection: Any, query: Any, values: Any = None, seconds: float = ANSWER
    ) -> Any:
        """Return the cursor of a query; raise TimeoutError without an answer in time.

        Cancelling the query would have psycopg ask a silent server to do so, for ten seconds.
        """
        answer = self._loop.create_task(connection.execute(query, values))
        try:
            await asyncio.wait([answer], timeout=seconds)
        finally:
            if not answer.done():
                connection.pgconn.finish()
                answer.cancel()
                await asyncio.wait([answer])
        if answer.cancelled():
            raise TimeoutError
        return answer.result()


_layers: "weakref.WeakSet[PostgresLayer]" = weakref.WeakSet()


@receiver(connection_created)
def let_databases_go(connection: Any, **kwargs: Any) -> None:
    """Disconnect before a test database is created, copied or dropped, which needs it alone.

    Django connects without a database for that, and for nothing else.
    """
    if connection.alias == NO_DB_ALIAS:
        for layer in list(_layers):
            layer.disconnect()
