"""A channel layer between all processes of a site, on PostgreSQL's LISTEN and NOTIFY.

It needs no table, and one connection per process. Every process receives every message, and
keeps those for channels and groups that it has.
"""

import base64
import uuid
import weakref
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.db.backends.base.base import NO_DB_ALIAS
from django.db.backends.signals import connection_created
from django.dispatch import receiver

from .local import LocalLayer, Waiting
from .wire import CONNECT, Wire

PART = 7700  # characters: with its header a part stays below NOTIFY's limit of 8,000 bytes


class PostgresLayer(LocalLayer):
    """`LocalLayer` for all processes that use the same database.

    `listen` names the database to connect to, by default `using`. Another one is needed if
    `using` is a connection pooler. `prefix` is the name of the NOTIFY channel.
    """

    def __init__(self, *, listen: str = "", prefix: str = "outlast", **options: Any) -> None:
        super().__init__(**options)
        self.listen, self.prefix = listen or self.using, prefix
        self._wire: Wire | None = None
        _layers.add(self)

    def connect(self) -> Wire:
        """Return the connection of this process, made at the first use."""
        with self._lock:
            if self._wire is None or not self._wire.is_alive():  # not alive: after a fork
                self._wire = Wire(self)
                self._wire.start()
            return self._wire

    def disconnect(self) -> None:
        """Close the connection until the layer is used again."""
        with self._lock:
            wire, self._wire = self._wire, None
        if wire:
            wire.close()

    def _publish(self, address: str, data: bytes) -> Waiting:
        text, ident = base64.b64encode(data).decode(), uuid.uuid4().hex
        starts = range(0, len(text), PART)
        return self.connect().send(
            [
                f"{address} {ident} {left} {text[start : start + PART]}"
                for start, left in zip(starts, reversed(range(len(starts))), strict=True)
            ]
        )

    def _listen(self) -> Waiting:
        return self.connect().listen()

    def parameters(self) -> dict[str, Any]:
        """Return the arguments to connect as Django does, without those for its cursors."""
        wrapper = connections[self.listen]
        if wrapper.vendor != "postgresql":
            raise ImproperlyConfigured(
                f"PostgresLayer needs PostgreSQL, but the database {self.listen!r} is "
                f"{wrapper.display_name}."
            )
        of_django = ("cursor_factory", "context", "prepare_threshold")
        given = {k: v for k, v in wrapper.get_connection_params().items() if k not in of_django}
        return {"application_name": "channels", **given, "connect_timeout": int(CONNECT)}


_layers: "weakref.WeakSet[PostgresLayer]" = weakref.WeakSet()


@receiver(connection_created)
def let_databases_go(connection: Any, **kwargs: Any) -> None:
    """Disconnect before a test database is created, copied or dropped.

    That needs exclusive access; Django connects without a database only for that.
    """
    if connection.alias == NO_DB_ALIAS:
        for layer in list(_layers):
            layer.disconnect()
