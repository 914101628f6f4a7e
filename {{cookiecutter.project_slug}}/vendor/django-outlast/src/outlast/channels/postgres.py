"""A channel layer between all processes of a site, on PostgreSQL's LISTEN and NOTIFY.

It needs no table, and one connection per process. Every process receives every message, and
keeps those for channels and groups that it has.
"""

import base64
import logging
import time
import uuid
import weakref
from collections.abc import Generator
from concurrent.futures import wait
from contextlib import closing
from selectors import EVENT_READ, DefaultSelector
from typing import Any

import psycopg
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.db.backends.base.base import NO_DB_ALIAS
from django.db.backends.signals import connection_created
from django.dispatch import receiver
from psycopg import sql

from .link import PING_INTERVAL, Link
from .local import LocalLayer

logger = logging.getLogger(__name__)

PART = 7700  # characters: with its header a part stays below NOTIFY's limit of 8,000 bytes
CONNECT = 2  # seconds for a new connection to one host
REPLY_SECONDS = 0.7  # seconds to wait for an answer

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


class PostgresLayer(LocalLayer):
    """`LocalLayer` for all processes that use the same database.

    `listen` names the database to connect to, by default `using`. Another one is needed if
    `using` is a connection pooler. `prefix` is the name of the NOTIFY channel.
    """

    def __init__(self, *, listen: str = "", prefix: str = "outlast", **options: Any) -> None:
        super().__init__(**options)
        self.listen, self.prefix = listen or self.using, prefix
        database = connections[self.listen]
        if database.vendor != "postgresql":
            raise ImproperlyConfigured(
                f"PostgresLayer needs PostgreSQL, but the database {self.listen!r} is "
                f"{database.display_name}."
            )
        self.links = [PostgresLink(self)]
        _layers.add(self)


class Connection(psycopg.Connection[Any]):
    """psycopg's, with a limit for the time without an answer or a part of it."""

    seconds = REPLY_SECONDS

    def __del__(self, *args: Any) -> None:
        """Do not warn: libpq closes what was opened in this process."""

    def wait(self, gen: Any, *args: Any, **options: Any) -> Any:
        return super().wait(self._limited(gen), *args, **options)

    def _limited(self, gen: Any) -> Generator[Any, Any, Any]:
        end, ready = time.monotonic() + self.seconds, None
        try:
            while True:
                ready = yield gen.send(ready)
                if ready:
                    end = time.monotonic() + self.seconds
                elif time.monotonic() > end:
                    raise TimeoutError("no answer in time")
        except StopIteration as done:
            return done.value


class PostgresLink(Link):
    """What a process sends to one database server, and receives from it."""

    service = "PostgreSQL"
    _layer: PostgresLayer

    def _connect(self) -> Connection:
        """Connect as Django does, without its arguments for cursors."""
        parameters = connections[self._layer.listen].get_connection_params()
        given = {k: v for k, v in parameters.items() if k not in ("cursor_factory", "context")}
        ours: dict[str, Any] = {"connect_timeout": CONNECT, "prepare_threshold": None}
        options = {"application_name": "channels", **given, **ours}
        return Connection.connect(autocommit=True, **options)

    def publish(self, batch: list[tuple[str, bytes]]) -> None:
        parts = [part for address, data in batch for part in _split(address, data)]
        wait(self.listen(), CONNECT)
        if (connection := self._connection) is None:
            raise TimeoutError("not connected")
        connection.seconds = REPLY_SECONDS + len(parts) / 500  # a message has 1,500 at most
        try:
            connection.execute(NOTIFY, [self._layer.prefix, parts])
        except TimeoutError:
            connection.close()
            raise
        finally:
            connection.seconds = REPLY_SECONDS

    def receive(self) -> None:
        parts: dict[str, list[str]] = {}  # of messages that have not arrived as a whole
        with closing(self._connect()) as connection, DefaultSelector() as selector:
            # Called when they arrive with an answer, in the thread that waits for it.
            connection.add_notify_handler(lambda each: self._receive_part(each.payload, parts))
            connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._layer.prefix)))
            cursor = connection.execute("SELECT pg_backend_pid()")
            if cursor.fetchone() != (connection.info.backend_pid,):
                logger.error(POOLED)
                self._layer.last_error = ImproperlyConfigured(POOLED)
            selector.register(connection.fileno(), EVENT_READ)
            self._connection = connection
            self.receives()
            self._receive(connection, selector, parts)

    def _receive(self, connection: Connection, selector: Any, parts: dict[str, list[str]]) -> None:
        ping_at = 0.0
        while self.is_open:
            selector.select(REPLY_SECONDS / 3)
            with connection.lock:  # psycopg's, which the thread that sends holds meanwhile
                connection.pgconn.consume_input()
                while notify := connection.pgconn.notifies():
                    self._receive_part(notify.extra.decode(), parts)
            if (now := time.monotonic()) >= ping_at:
                ping_at = now + PING_INTERVAL
                connection.execute("SELECT 1")

    def _receive_part(self, payload: str, parts: dict[str, list[str]]) -> None:
        """Take a part of a message, and deliver the message with its last part."""
        try:
            address, ident, left, text = payload.split(" ", 3)
            if address not in self._layer._groups and address not in self._layer._channels:
                parts.pop(ident, None)  # the last receiver has left since the first part
                return
            parts.setdefault(ident, []).append(text)
            if left == "0":
                self._layer._deliver(address, base64.b64decode("".join(parts.pop(ident))))
        except ValueError:
            logger.warning("Channel layer: ignored %d bytes: not a message.", len(payload))


def _split(address: str, data: bytes) -> list[str]:
    """Return the payloads of a message."""
    text, ident = base64.b64encode(data).decode(), uuid.uuid4().hex
    starts = range(0, len(text), PART)
    return [
        f"{address} {ident} {left} {text[start : start + PART]}"
        for start, left in zip(starts, reversed(range(len(starts))), strict=True)
    ]


_layers: "weakref.WeakSet[PostgresLayer]" = weakref.WeakSet()


@receiver(connection_created)
def let_databases_go(connection: Any, **kwargs: Any) -> None:
    """Disconnect before a test database is created, copied or dropped.

    That needs exclusive access; Django connects without a database only for that.
    """
    if connection.alias == NO_DB_ALIAS:
        for layer in list(_layers):
            layer.links[0].close()
