"""Find the user who opens a WebSocket, and when the session ends, without writing."""

from collections.abc import Mapping
from datetime import datetime
from importlib import import_module
from typing import Any, NamedTuple

from channels.db import database_sync_to_async
from django import db
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.http.request import split_domain_port, validate_host
from django.utils import timezone

from outlast.middleware import peek_user
from outlast.requests import exact_cookies
from outlast.sessions import all_sessions

# Close codes; before the handshake is over, a browser sees them as HTTP's 403.
NOT_LOGGED_IN, FOREIGN, UNAVAILABLE = 4401, 4403, 4503


class RefusedError(Exception):
    """Why a socket is not opened, and the close code that says so."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


class Visitor(NamedTuple):
    """Who a socket is opened for."""

    public_id: str  # of the session: it stays when the key is replaced
    user_id: Any


async def admit(scope: Mapping[str, Any]) -> Visitor:
    """Return who opens the WebSocket; raise RefusedError without a user, or for another site."""
    if not is_own_origin(scope):
        origin = header(scope, b"origin")[:100]
        raise RefusedError(FOREIGN, f"its origin is {origin!r}, not this site")
    try:
        cookies = exact_cookies(header(scope, b"cookie"))
        visitor = await find_visitor(cookies.get(settings.SESSION_COOKIE_NAME))
    except db.Error as error:
        raise RefusedError(UNAVAILABLE, f"its session cannot be looked up ({error})") from error
    if visitor is None:
        raise RefusedError(NOT_LOGGED_IN, "no user is logged in with its cookie")
    return visitor


@database_sync_to_async
def find_visitor(session_key: str | None) -> Visitor | None:
    """Return the user of a session, by the rules of a request; do not write."""
    session = _store(session_key)
    if not hasattr(session, "row"):
        raise ImproperlyConfigured(
            "Live events need a session engine of outlast.sessions, to end with the session. "
            f"SESSION_ENGINE is {settings.SESSION_ENGINE}."
        )
    user = peek_user(session)
    # A session that Django's engine wrote has no public ID until the next page writes one.
    if not user.is_authenticated or session.row.public_id is None:
        return None
    return Visitor(str(session.row.public_id), user.pk)


@database_sync_to_async
def find_end(visitor: Visitor) -> datetime:
    """Return when the session ends if it is not used; now if it has ended.

    Its user is found by the rules of a request, as when the socket was opened.
    """
    rows = all_sessions().alive().filter(public_id=visitor.public_id, user_id=visitor.user_id)
    if row := rows.select_related("user").defer("session_data").first():
        session = _store(row.session_key)
        session.row, session.user = row, row.user
        if peek_user(session).is_authenticated:
            ends_at: datetime = row.ends_at()
            return ends_at
    return timezone.now()


def _store(session_key: str | None) -> Any:
    return import_module(settings.SESSION_ENGINE).SessionStore(session_key or None)


def is_own_origin(scope: Mapping[str, Any]) -> bool:
    """Return whether a page of this site opens the WebSocket; pages of other sites could try.

    With DEBUG the page may be at any name of this machine, such as 127.0.0.1.
    """
    origin = header(scope, b"origin").lower()
    if settings.DEBUG:
        host = header(scope, b"host").lower()
        domain, _port = split_domain_port(host)
        if validate_host(domain, settings.ALLOWED_HOSTS) and origin == f"http://{host}":
            return True
    return origin in settings.CSRF_TRUSTED_ORIGINS


def header(scope: Mapping[str, Any], name: bytes) -> str:
    """Return a header of the handshake, "" if it is missing."""
    return b"; ".join(value for key, value in scope["headers"] if key == name).decode("latin-1")
