"""What can happen to the copies of sessions in Redis, and in the middle of a request."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

from django.core.cache import caches
from django.db import connection

ENDED = object()


class Copies:
    """The copies, as they lie in Redis."""

    def __init__(self) -> None:
        self.cache = caches["default"]
        self.client = self.cache.client

    def name(self, session_key: str) -> str:
        return str(self.cache.make_key(f"session:{session_key}"))

    def of(self, session_key: str) -> bytes | None:
        value: bytes | None = self.client.get(self.name(session_key))
        return value

    def put(self, session_key: str, copy: bytes | None) -> None:
        """Plant a copy; None: take it away."""
        if copy is None:
            self.lose(session_key)
        else:
            self.client.set(self.name(session_key), copy)

    def lose(self, session_key: str) -> None:
        self.client.delete(self.name(session_key))

    def seconds_left(self, session_key: str) -> int:
        return int(self.client.ttl(self.name(session_key)))


class Interrupted:
    """A cache, and a database, during one call of which something happens, once.

    `at` is "before get", "after get", the same with another method of the cache, or
    "after query".
    """

    def __init__(self, at: str, happen: Callable[[], None]) -> None:
        self.cache = caches["default"]
        self.at, self.happen = at, happen

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.cache, name)

        def call(*args: Any) -> Any:
            self._pass(f"before {name}")
            result = method(*args)
            self._pass(f"after {name}")
            return result

        return call

    def execute(self, execute: Any, *args: Any) -> Any:
        """Execute a query; for `connection.execute_wrapper`."""
        result = execute(*args)
        self._pass("after query")
        return result

    def _pass(self, point: str) -> None:
        if point == self.at:
            self.at = ""
            self.happen()


def new_session(engine: ModuleType, value: Any) -> str:
    """Save `value` in a new session, and return its key."""
    session = engine.SessionStore()
    session["value"] = value
    session.save()
    session.save()  # create() has made it, but without data
    return str(session.session_key)


def value_of(engine: ModuleType, session_key: str, interrupted: Interrupted | None = None) -> Any:
    """Return what another request finds in the session, or ENDED."""
    session = engine.SessionStore(session_key)
    if interrupted is None:
        value = session.get("value")
    else:
        session.cache = lambda: interrupted
        with connection.execute_wrapper(interrupted.execute):
            value = session.get("value")
    return ENDED if session.session_key is None else value
