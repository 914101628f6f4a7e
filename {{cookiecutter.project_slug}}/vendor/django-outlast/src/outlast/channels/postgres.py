"""A channel layer between all processes of a site, on PostgreSQL's LISTEN and NOTIFY.

It needs no table, and two connections per process: one sends, one listens. Every process
receives every message, and keeps those for channels and groups that it has.
"""

import base64
import logging
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

logger = logging.getLogger(__name__)

PART = 7700  # characters: with its header a part stays below NOTIFY's limit of 8,000 bytes


class PostgresLayer(LocalLayer):
    """`LocalLayer` for all processes that use the same database.

    `listen` names the database to connect to, by default `using`. Another one is needed if
    `using` is a connection pooler. `prefix` is the name of the NOTIFY channel.
    """

    def __init__(self, *, listen: str = "", prefix: str = "outlast", **options: Any) -> None:
        super().__init__(**options)
        self.listen, self.prefix = listen or self.using, prefix
        self.last_error: BaseException | None = None  # for the doctor
        self._wire: Wire | None = None
        self.parts: dict[str, list[str]] = {}  # of messages that have not arrived as a whole
        _layers.add(self)

    def connect(self) -> Wire:
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

    def _publish(self, kind: str, name: str, data: bytes) -> Waiting:
        text, ident = base64.b64encode(data).decode(), uuid.uuid4().hex
        starts = range(0, len(text), PART)
        return self.connect().send(
            [
                f"{kind} {name} {ident} {left} {text[start : start + PART]}"
                for start, left in zip(starts, reversed(range(len(starts))), strict=True)
            ]
        )

    def _listen(self) -> Waiting:
        return self.connect().listen()

    def hear(self, payload: str) -> None:
        """Take a part of a message, and deliver the message with its last part."""
        try:
            kind, name, ident, left, text = payload.split(" ", 4)
            if name not in (self._channels if kind == "channel" else self._groups):
                return
            parts = self.parts.setdefault(ident, [])
            parts.append(text)
            if left == "0":
                del self.parts[ident]
                self._deliver(kind, name, base64.b64decode("".join(parts)))
        except ValueError:
            logger.warning("Channel layer: ignored %d bytes that are not a message.", len(payload))

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
