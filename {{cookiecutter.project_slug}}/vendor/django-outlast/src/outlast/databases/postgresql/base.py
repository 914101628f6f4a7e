"""PostgreSQL, with a pool that notices at once that the server is away, or back.

psycopg's own lets everybody wait, for as long as in a crowd, while the server refuses
connections; hands out connections that a restart of the server has closed; and psycopg
waits for ever for the answer of a server that hangs.
"""

import selectors
import threading
import time
from typing import Any, ClassVar, Self

import psycopg
from django.db.backends.postgresql import base
from psycopg_pool import PoolTimeout

from outlast.databases import IN_LINE_SECONDS


class Connection(psycopg.Connection[Any]):
    """A connection of the pool, which waits for an answer no longer than for a connection."""

    unreachable: ClassVar[bool] = False  # as far as the last attempt to connect tells
    patience: float | None  # seconds

    @classmethod
    def connect(cls, *args: Any, **kwargs: Any) -> Self:
        try:
            connection = super().connect(*args, **kwargs)
        except psycopg.OperationalError:
            Connection.unreachable = True
            raise
        Connection.unreachable = False
        connection.patience = kwargs.get("connect_timeout")
        return connection

    def wait(self, *args: Any, **kwargs: Any) -> Any:
        """Wait for the server; raises OperationalError when a request has waited too long.

        Commands run in the main thread, and may take their time.
        """
        if threading.current_thread() is not threading.main_thread():
            kwargs.setdefault("timeout", self.patience)
        return super().wait(*args, **kwargs)

    @property
    def hung_up(self) -> bool:
        """Whether the server has closed the connection, found without asking it.

        Whatever comes down an idle connection, it is better to take another one.
        """
        with selectors.DefaultSelector() as selector:
            selector.register(self.fileno(), selectors.EVENT_READ)
            return bool(selector.select(0))


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's, with a pool of connections that are alive."""

    served: ClassVar[int] = 0  # how many have got a connection so far

    def __init__(self, settings_dict: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        super().__init__(settings_dict, *args, **kwargs)
        if pool := settings_dict["OPTIONS"].get("pool"):
            pool.setdefault("connection_class", Connection)

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        if not self.pool:
            return super().get_new_connection(conn_params)
        deadline = time.monotonic() + IN_LINE_SECONDS
        while True:
            if Connection.unreachable:
                # The server itself refuses or answers at once; the pool would say nothing.
                Connection.connect(**conn_params).close()
            served = DatabaseWrapper.served
            try:
                connection = super().get_new_connection(conn_params)
            except PoolTimeout:
                if DatabaseWrapper.served == served or time.monotonic() > deadline:
                    raise
                continue  # others had their turn meanwhile
            DatabaseWrapper.served += 1
            if not connection.hung_up:
                return connection
            connection.close()
            self.pool.putconn(connection)
            Connection.unreachable = True
