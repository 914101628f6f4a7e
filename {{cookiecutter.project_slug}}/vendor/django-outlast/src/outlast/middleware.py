"""Session and user of a request, for one question to the database."""

from functools import partial
from typing import TYPE_CHECKING, Any, cast

from django.conf import settings
from django.contrib import auth
from django.contrib.auth import middleware as auth_middleware
from django.contrib.auth.backends import ModelBackend
from django.contrib.sessions import middleware as session_middleware
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from django.utils.functional import SimpleLazyObject

from outlast.sessions.db import SessionStore

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser as User


class SessionMiddleware(session_middleware.SessionMiddleware):
    """Django's, which also notes who opened a session and when it was last used."""

    def process_request(self, request: HttpRequest) -> None:
        super().process_request(request)
        session_of(request).opened_by(
            request.META.get("REMOTE_ADDR", ""), request.META.get("HTTP_USER_AGENT", "")
        )

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        response = super().process_response(request, response)
        session_of(request).touch()
        return response


class AuthenticationMiddleware(auth_middleware.AuthenticationMiddleware):
    """Django's, which takes the user that came with the session instead of asking again."""

    def process_request(self, request: HttpRequest) -> None:
        super().process_request(request)
        user: Any = SimpleLazyObject(lambda: _get_user(request))
        request.user = user
        request.auser = partial(_aget_user, request)


def _get_user(request: HttpRequest) -> Any:
    kept = vars(request)
    if "_cached_user" not in kept:
        kept["_cached_user"] = user_of(session_of(request)) or auth.get_user(request)
    return kept["_cached_user"]


async def _aget_user(request: HttpRequest) -> Any:
    kept = vars(request)
    if "_acached_user" not in kept:
        await request.session.aget(auth.SESSION_KEY)  # in a thread, the next line must not wait
        kept["_acached_user"] = user_of(session_of(request)) or await auth.aget_user(request)
    return kept["_acached_user"]


def session_of(request: HttpRequest) -> SessionStore:
    """Return the session of a request: `manage.py check` refuses engines of another class."""
    return cast(SessionStore, request.session)


def user_of(session: SessionStore) -> "User | None":
    """Return the user that came with the session, if Django would return the very same.

    None, and Django is to find out itself, wherever `django.contrib.auth.get_user()` does
    more than read the user's row: nobody logged in, an authentication backend with a
    `get_user()` of its own or no longer in the settings, an inactive user, a password or
    a SECRET_KEY changed since.
    """
    user_id, path = session.get(auth.SESSION_KEY), session.get(auth.BACKEND_SESSION_KEY)
    user: Any = session.user
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
    ):
        return None
    expected, given = user.get_session_auth_hash(), session.get(auth.HASH_SESSION_KEY, "")
    return user if constant_time_compare(given, expected) else None
