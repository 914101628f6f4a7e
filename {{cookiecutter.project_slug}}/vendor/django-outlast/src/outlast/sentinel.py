"""Connections to the primary that Sentinels name, and never to a replica."""

import logging
import threading
import time
from collections.abc import Sequence
from typing import Any

from redis import Redis
from redis.connection import Connection, ConnectionPool, SSLConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

Address = tuple[str, int]

LOOK_EVERY = 1.0  # seconds
LOOK_PATIENCE = 0.1  # seconds for all Sentinels together, as far as they do not hang
PAUSE = 2.0  # seconds without a look after all Sentinels were asked in vain


class PrimaryConnection(Connection):
    """Dials whoever is the primary at that moment.

    redis-py's `SentinelManagedConnection` asks Sentinel in `connect()`, which a reconnect
    within a command passes by (its issue 3874); `_connect()` is what all ways lead through.
    """

    def __init__(self, *, primary_pool: "PrimaryPool", **kwargs: Any):
        super().__init__(**kwargs)
        self._primary_pool = primary_pool

    def _connect(self) -> Any:
        self.host, self.port = self._primary_pool.address or self._primary_pool.ask()
        return super()._connect()


class PrimarySSLConnection(PrimaryConnection, SSLConnection):
    """The same over TLS."""


class PrimaryPool(ConnectionPool):
    """Once a second some caller asks a Sentinel; connections to a former primary are dropped.

    redis-py's `SentinelConnectionPool` asks only when it dials, so that it goes on writing
    to a primary that was replaced in good health, and those writes are lost.

    Nobody waits while another asks. The Sentinel that answered last is asked first; one that
    hangs costs one caller `LOOK_PATIENCE` and then comes last. If none answers, the primary
    that is known is as good as ever.
    """

    def __init__(self, service: str, sentinels: Sequence[Redis], *, ssl: bool, **kwargs: Any):
        self.address: Address | None = None
        self._service, self._sentinels = service, list(sentinels)
        self._asking = threading.Lock()
        self._look_at = 0.0  # time.monotonic()
        self._in_vain = 0
        super().__init__(
            connection_class=PrimarySSLConnection if ssl else PrimaryConnection,
            primary_pool=self,
            **kwargs,
        )

    def __repr__(self) -> str:
        # ConnectionPool shows the arguments, and one of them is this pool.
        return f"<{type(self).__name__} of {self._service}, primary at {self.address}>"

    def get_connection(self, *_args: Any, **_options: Any) -> Connection:
        """As ConnectionPool does, after a look at who is the primary if that is due."""
        if time.monotonic() >= self._look_at and self._asking.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._asking.release()
        return super().get_connection()

    def owns_connection(self, connection: Any) -> bool:
        """Whether to keep it: not if it leads to a former primary."""
        here = (connection.host, connection.port) == self.address
        return here and bool(super().owns_connection(connection))

    def _look(self) -> None:
        try:
            self.ask()
        except RedisConnectionError:
            self._in_vain += 1
            # At once the next caller asks the next one, until all have had their turn.
            if self._in_vain % len(self._sentinels):
                return
            self._look_at = time.monotonic() + PAUSE
        else:
            self._in_vain = 0
            self._look_at = time.monotonic() + LOOK_EVERY

    def ask(self) -> Address:
        """Return the primary that the first Sentinel to answer names, and remember it.

        Raises redis-py's ConnectionError if none does within `LOOK_PATIENCE`.
        """
        started = time.monotonic()
        errors = []
        for sentinel in tuple(self._sentinels):
            try:
                found = sentinel.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", self._service)
            except (RedisError, OSError) as error:
                errors.append(str(error))
            else:
                if found:
                    return self._found((found[0], int(found[1])))
                errors.append(f"{where(sentinel)} knows no service {self._service!r}")
            # To the end; a new list, since others may be going through the old one.
            self._sentinels = [s for s in self._sentinels if s is not sentinel] + [sentinel]
            if time.monotonic() - started >= LOOK_PATIENCE:
                break
        raise RedisConnectionError(f"no Sentinel names a primary ({'; '.join(errors)})")

    def _found(self, address: Address) -> Address:
        if address != self.address:
            if self.address:
                new, old = (f"{host}:{port}" for host, port in (address, self.address))
                logger.warning(
                    "Redis: the primary of %s is %s now, after %s.", self._service, new, old
                )
            self.address = address
            self.disconnect(inuse_connections=False)  # those in use end when they are released
        return address


def where(sentinel: Redis) -> str:
    """Return the address of a Sentinel, for messages."""
    place = sentinel.connection_pool.connection_kwargs
    return f"{place['host']}:{place['port']}"
