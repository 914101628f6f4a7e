"""The WebSocket at `/ws/events/`: live events of one's own account (events.py).

Whoever is logged in on this site has one per open page. It ends with its session: when
told so, at the moment the session expires, and, had the message been lost, when the
session is looked up again.
"""

import asyncio
import contextlib
import json
import logging
import random
from collections.abc import Mapping
from datetime import datetime
from importlib import import_module
from typing import Any, NamedTuple

from channels.consumer import get_handler_name
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django import db
from django.conf import settings
from django.http.request import split_domain_port, validate_host
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.utils.translation import gettext as _
from outlast.middleware import peek_user
from outlast.models import Session
from outlast.requests import exact_cookies

from accounts.events import event, group_of

logger = logging.getLogger(__name__)

CHECK = 20  # seconds at most between two looks at the session, each followed by a heartbeat
# Close codes; before the handshake is over, a browser sees them as HTTP's 403.
NOT_LOGGED_IN, FOREIGN, UNAVAILABLE = 4401, 4403, 4503
UNSUPPORTED, BROKEN = 1003, 1011  # of RFC 6455


class EventsConsumer(AsyncWebsocketConsumer):
    """Sends `{"type": …, "time": …, "text": …}`; whoever sends to it is cut off."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """As Channels; and nothing is left behind, however the connection ends."""
        self.visitor: Visitor | None = None
        self.watching: asyncio.Task[None] | None = None
        self.over = False
        try:
            await super().__call__(scope, receive, send)
        finally:
            if self.watching:
                self.watching.cancel()
            if self.visitor:
                await self.channel_layer.group_discard(self.group, self.channel_name)

    async def dispatch(self, message: dict[str, Any]) -> None:
        """As Channels, without its visit to the database's thread before every message."""
        handler = getattr(self, get_handler_name(message), None)
        if handler:  # else sent by another version of the site
            await handler(message)

    async def connect(self) -> None:
        try:
            self.visitor = await admit(self.scope)
        except RefusedError as refused:
            host, *_port = self.scope.get("client") or ["an unknown address"]
            logger.warning("WebSocket from %s refused: %s.", host, refused)
            await self.close(refused.code)
            return
        self.group = group_of(self.visitor.user_id)
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()
        self.watching = asyncio.create_task(self.watch(self.visitor))

    async def watch(self, visitor: "Visitor") -> None:
        """Look at the session now and then, the first time at once, and end with it."""
        try:
            ends_at = None
            while not self.over:
                with contextlib.suppress(db.Error):  # then nobody can end a session either
                    ends_at = await find_end(visitor)
                seconds = (ends_at - timezone.now()).total_seconds() if ends_at else CHECK
                if seconds <= 0:
                    await self.end(NOT_LOGGED_IN, _("This session has ended."))
                    break
                # The in-memory layer forgets members after a day; who is one already stays it.
                await self.channel_layer.group_add(self.group, self.channel_name)
                await self.tell(event("heartbeat"))
                # Not all sockets at once, as after a restart.
                await asyncio.sleep(min(seconds, CHECK * random.uniform(0.8, 1)))  # noqa: S311
        except OSError:
            pass  # the browser has gone, as the server is about to say
        except Exception:
            logger.exception("A WebSocket ends, since nobody watches over its session any more.")
            await self.end(BROKEN)

    async def session_ended(self, message: dict[str, Any]) -> None:
        """Receive the end of one of the user's sessions."""
        if self.visitor and message["session"] == self.visitor.public_id:
            await self.end(NOT_LOGGED_IN, _("This session was ended elsewhere."))
        else:
            await self.tell(event("sessions_changed"))

    async def account_event(self, message: dict[str, Any]) -> None:
        """Receive an event for the page."""
        await self.tell(message["event"])

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.end(UNSUPPORTED)

    async def tell(self, what: dict[str, str]) -> None:
        if not self.over:
            await self.send(text_data=json.dumps(what))

    async def end(self, code: int, text: str = "") -> None:
        """Say why, if there is somebody to read it, and close."""
        if text:
            await self.tell(event("session_ended", text))
        if not self.over:
            self.over = True
            await self.close(code)


class RefusedError(Exception):
    """Why a socket is not opened, and the close code that says so."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


class Visitor(NamedTuple):
    """Who a socket is opened for."""

    public_id: str  # of the session: it stays when the key is replaced
    user_id: Any
    auth_hash: str  # changes with the password


async def admit(scope: Mapping[str, Any]) -> Visitor:
    """Return who opens the socket; raises RefusedError unless it is somebody of this site."""
    if not is_own_origin(scope):
        origin = header(scope, b"origin")[:100]
        raise RefusedError(FOREIGN, f"its origin is {origin!r}, and not this site")
    try:
        visitor = await find_visitor(session_key(scope))
    except db.Error as error:
        raise RefusedError(UNAVAILABLE, f"its session cannot be looked up ({error})") from error
    if visitor is None:
        raise RefusedError(NOT_LOGGED_IN, "nobody is logged in in its session")
    return visitor


@database_sync_to_async
def find_visitor(session_key: str) -> Visitor | None:
    """Return who is logged in in a session, by the rules of a request; write nothing."""
    session = import_module(settings.SESSION_ENGINE).SessionStore(session_key or None)
    user = peek_user(session)
    if not user.is_authenticated:
        return None
    return Visitor(str(session.row.public_id), user.pk, user.get_session_auth_hash())


@database_sync_to_async
def find_end(visitor: Visitor) -> datetime:
    """Return when the session ends unless it is used; a moment gone by if it has ended."""
    sessions = Session.objects.using(db.router.db_for_write(Session)).alive()
    rows = sessions.filter(public_id=visitor.public_id, user_id=visitor.user_id)
    session = rows.select_related("user").defer("session_data").first()
    if (
        session is None
        or session.user is None
        or not session.user.is_active
        or not constant_time_compare(session.user.get_session_auth_hash(), visitor.auth_hash)
    ):
        return datetime.min.replace(tzinfo=timezone.get_default_timezone())
    ends_at: datetime = session.ends_at()
    return ends_at


def session_key(scope: Mapping[str, Any]) -> str:
    """Return what the cookie names, "" without one."""
    return exact_cookies(header(scope, b"cookie")).get(settings.SESSION_COOKIE_NAME, "")


def is_own_origin(scope: Mapping[str, Any]) -> bool:
    """Whether a page of this site opens the socket: any other could, in the user's name.

    With DEBUG that may be at any name this machine goes by, such as 127.0.0.1.
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
