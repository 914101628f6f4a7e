"""What the tests of sessions share: rows, and faults of the places that hold session data."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib import import_module
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.cache import caches
from django.db import connection
from django.test import Client
from django.utils import timezone
from outlast.models import Session
from outlast.sessions import redis
from outlast.sessions.db import SessionStore

from tests.servers import Topology

PASSWORD = "correct horse battery staple"  # noqa: S105
ENDED = object()


def store(session_key: str | None = None) -> SessionStore:
    """Return a session of the active engine."""
    session = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
    assert isinstance(session, SessionStore)
    return session


def saved(expiry: Any = None, **data: Any) -> SessionStore:
    """Return a session that has been saved."""
    session = store()
    session.update(data)
    session.set_expiry(expiry)
    session.save()
    return session


def loaded(session_key: str | None) -> dict[str, Any] | None:
    """Return what another request finds under the key; None: there is no such session."""
    session = store(session_key)
    data = dict(session.items())
    return data if session.session_key else None


def row(session: SessionStore) -> Session:
    found: Session = Session.objects.get(pk=session.session_key)
    return found


def age(session: Any, **columns: timedelta) -> None:
    """Put columns of the session's row back in time."""
    moments = {name: timezone.now() - passed for name, passed in columns.items()}
    Session.objects.filter(session_key=session.session_key).update(**moments)


def is_logged_in(browser: Client, session_key: str | None = None) -> bool:
    if session_key:
        browser.cookies[settings.SESSION_COOKIE_NAME] = session_key
    return browser.get("/").content == b"user=ada"


def new_session(value: Any) -> str:
    """Save `value` in a new session, and return its key."""
    return str(saved(value=value).session_key)


class Copies:
    """The copies of sessions, as they are in Redis."""

    def __init__(self, server: Topology) -> None:
        self.cache: Any = caches["default"]
        self.server = server

    def name(self, session_key: str) -> str:
        return redis.name_of(session_key)

    def of(self, session_key: str) -> Any:
        return self.cache.get(self.name(session_key))

    def put(self, session_key: str, copy: Any) -> None:
        """Plant a copy; None: remove it."""
        if copy is None:
            self.lose(session_key)
        else:
            self.cache.set(self.name(session_key), copy)

    def lose(self, session_key: str) -> None:
        self.cache.delete(self.name(session_key))

    def seconds_left(self, session_key: str) -> int:
        with self.server.primary.client() as client:
            return int(client.ttl(self.cache.make_key(self.name(session_key))))


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


def value_of(session_key: str, interrupted: Interrupted | None = None) -> Any:
    """Return what another request finds in the session, or ENDED."""
    session = store(session_key)
    if interrupted is None:
        value = session.get("value")
    else:
        used = redis.copies
        redis.copies = lambda: interrupted  # type: ignore[assignment, return-value]
        try:
            with connection.execute_wrapper(interrupted.execute):
                value = session.get("value")
        finally:
            redis.copies = used
    return ENDED if session.session_key is None else value


@contextmanager
def table(model: Any) -> Iterator[Any]:
    """Keep a model for one test."""
    with connection.schema_editor() as editor:
        editor.create_model(model)
    yield model
    with connection.schema_editor() as editor:
        editor.delete_model(model)
    del apps.all_models["auth"][model._meta.model_name]
    apps.clear_cache()
