"""The session and the user of a request, in one query."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

from django.conf import settings
from django.contrib import auth
from django.contrib.auth import middleware as auth_middleware
from django.contrib.auth.backends import ModelBackend
from django.contrib.sessions import middleware as session_middleware
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from django.utils.functional import SimpleLazyObject

from outlast.sessions import acting
from outlast.sessions.db import SessionStore
from outlast.sessions.reading import IDENTITY


class SessionMiddleware(session_middleware.SessionMiddleware):
    """Django's; also records who opened a session and when it was last used."""

    def process_request(self, request: HttpRequest) -> None:
        super().process_request(request)
        if isinstance(request.session, SessionStore):
            address = request.META.get("REMOTE_ADDR", "")
            request.session.opened_by(address, request.META.get("HTTP_USER_AGENT", ""))
            acting.set(request.session)

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        response = super().process_response(request, response)
        if isinstance(getattr(request, "session", None), SessionStore):
            cast(SessionStore, request.session).touch()
        acting.set(None)
        return response


class AuthenticationMiddleware(auth_middleware.AuthenticationMiddleware):
    """Django's, with the user that was loaded with the session."""

    def process_request(self, request: HttpRequest) -> None:
        super().process_request(request)
        user: Any = SimpleLazyObject(lambda: _get_user(request))
        request.user = user
        request.auser = partial(_aget_user, request)


@contextmanager
def _keeping_key(session: Any) -> Iterator[None]:
    """Keep the key if `get_user()` would replace it: other requests have the same cookie."""
    if isinstance(session, SessionStore):
        session.keeps_key = True
    try:
        yield
    finally:
        if isinstance(session, SessionStore):
            session.keeps_key = False


def _get_user(request: HttpRequest) -> Any:
    kept = vars(request)
    if "_cached_user" not in kept:
        with _keeping_key(request.session):
            kept["_cached_user"] = user_of(request.session) or auth.get_user(request)
    return kept["_cached_user"]


async def _aget_user(request: HttpRequest) -> Any:
    kept = vars(request)
    if "_acached_user" not in kept:
        if isinstance(request.session, SessionStore):
            # In a thread; the next line must not wait for the database.
            await request.session.aget(auth.SESSION_KEY)
        with _keeping_key(request.session):
            kept["_acached_user"] = user_of(request.session) or await auth.aget_user(request)
    return kept["_acached_user"]


def user_of(session: Any) -> Any:
    """Return the user that was loaded with the session, if Django would return the same.

    Return None if `django.contrib.auth.get_user()` does more than read the user's row: no
    user, an authentication backend with its own `get_user()` or no longer in the settings, an
    inactive user, a password or SECRET_KEY that was changed. Django decides in these cases.
    """
    if not isinstance(session, SessionStore):
        return None
    user_id, path = session.get(auth.SESSION_KEY), session.get(auth.BACKEND_SESSION_KEY)
    user = session.user
    if (
        user is None
        or user._meta.pk.value_to_string(user) != user_id
        or path not in settings.AUTHENTICATION_BACKENDS
    ):
        return None
    backend = auth.load_backend(path)
    if not (
        isinstance(backend, ModelBackend)
        and type(backend).get_user is ModelBackend.get_user
        and type(backend).aget_user is ModelBackend.aget_user
        and backend.user_can_authenticate(user)
        and hasattr(user, "get_session_auth_hash")
    ):
        return None
    expected, given = user.get_session_auth_hash(), session.get(auth.HASH_SESSION_KEY, "")
    return user if constant_time_compare(given, expected) else None


class _ReadOnly(dict[str, Any]):
    """Who is logged in, for `get_user()`: it can neither replace the key nor end the session."""

    def cycle_key(self) -> None: ...

    def flush(self) -> None: ...


def peek_user(session: SessionStore) -> Any:
    """Return the user as `django.contrib.auth.get_user()` does, but never write.

    For the handshake of a WebSocket, which cannot send a new cookie.
    """
    if user := user_of(session):
        return user
    request = HttpRequest()
    request.session = _ReadOnly({key: session[key] for key in IDENTITY if key in session})  # type: ignore[assignment]
    return auth.get_user(request)
