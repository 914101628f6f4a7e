"""Live events: `publish` sends one to all open pages of a user, `LiveConsumer` is their WebSocket.

Events are not stored: a page that is not connected misses them, and must fetch the current state.
"""

import asyncio
import contextlib
import json
import logging
import random
import time
from typing import Any, ClassVar

from asgiref.sync import async_to_sync
from channels.consumer import get_handler_name
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import get_channel_layer
from django import db
from django.contrib.auth import get_user_model
from django.utils import timezone
from django.utils.translation import gettext as _

from outlast.conf import conf
from outlast.visitors import NOT_LOGGED_IN, RefusedError, Visitor, admit, find_end

logger = logging.getLogger(__name__)

CHECK = 20  # seconds at most between two checks of the session, each followed by a heartbeat
TOO_MANY = 4429  # a close code, as those of visitors.py
UNSUPPORTED, BROKEN = 1003, 1011  # of RFC 6455


def group_of(user_id: Any) -> str:
    """Return the name of the group of all sockets of a user."""
    return f"user.{user_id}"


def event(kind: str, text: str = "") -> dict[str, str]:
    """Return an event as pages get it: `type`, `time` (ISO 8601, UTC) and `text` to show."""
    return {"type": kind, "time": timezone.now().isoformat(), "text": text}


def publish(user_id: Any, kind: str, text: str = "") -> None:
    """Send an event to all pages of a user, after the commit. For synchronous code."""
    message = {"type": "account.event", "event": event(kind, text)}

    def send() -> None:  # not a partial, which has no name for Django's line in the log
        send_to_user(user_id, message)

    db.transaction.on_commit(send, using=db.router.db_for_write(get_user_model()), robust=True)


def send_to_user(user_id: Any, message: dict[str, Any]) -> None:
    """Send a message to all sockets of a user; `LiveConsumer.messages` lists the types."""
    if layer := get_channel_layer():  # None without CHANNEL_LAYERS
        async_to_sync(layer.group_send)(group_of(user_id), message)


class FromServer(dict[str, Any]):
    """A message of the ASGI server. Those of the channel layer could come from anyone."""


class LiveConsumer(AsyncWebsocketConsumer):
    """A WebSocket for a logged-in user that ends with the session, and sends events.

    It must be opened by a page of this site. What the browser sends closes it, unless a
    subclass overrides `receive`.

    `messages` lists the messages of the channel layer that have a handler, each with the types
    of its fields. Others are dropped: everyone with access to Redis can send any.
    """

    messages: ClassVar[dict[str, dict[str, type]]] = {
        "account.event": {"event": dict},
        "session.ended": {"session": str},
        "socket.changed": {"open": bool, "at": float, "channel": str, "session": str},
    }

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Run the consumer; always cancel the watcher and leave the group."""
        self.visitor: Visitor | None = None
        self.watching: asyncio.Task[None] | None = None
        self.is_closed = False
        self.opened_at = time.time()
        # The user's sockets that were opened later: when each was last announced, and its session.
        self.newer: dict[str, tuple[float, str]] = {}

        async def from_server() -> Any:
            return FromServer(await receive())

        try:
            await super().__call__(scope, from_server, send)
        finally:
            if self.watching:
                self.watching.cancel()
            if self.visitor:
                await self.channel_layer.group_discard(self.group, self.channel_name)
                await self.announce(is_open=False)
            if close_channel := getattr(self.channel_layer, "close_channel", None):
                await close_channel(self.channel_name)

    async def dispatch(self, message: Any) -> None:
        """Call the handler of a message; drop one of the layer that `messages` does not list.

        Unlike Channels', this does not use the database's thread for each message.
        """
        kind = message.get("type") if isinstance(message, dict) else None
        known = self.messages.get(kind) if isinstance(kind, str) else None
        fields = {} if isinstance(message, FromServer) else known
        if fields is None or not all(isinstance(message.get(k), t) for k, t in fields.items()):
            logger.debug("A message that no consumer expects was dropped.")
        elif handler := getattr(self, get_handler_name(message), None):
            await handler(message)

    async def connect(self) -> None:
        """Accept the socket, or refuse it and log why."""
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

    async def watch(self, visitor: Visitor) -> None:
        """Check the session at once and then regularly; close when it has ended."""
        try:
            ends_at = None
            while not self.is_closed:
                await self.announce(is_open=True)
                with contextlib.suppress(db.Error):  # while it is unavailable, no session can end
                    ends_at = await find_end(visitor)
                seconds = (ends_at - timezone.now()).total_seconds() if ends_at else CHECK
                if seconds <= 0:
                    await self.end(NOT_LOGGED_IN, _("This session has ended."))
                    break
                await self.send_event(event("heartbeat"))
                # Not all sockets at once, as after a restart.
                await asyncio.sleep(min(seconds, CHECK * random.uniform(0.8, 1)))  # noqa: S311
        except OSError:
            pass  # the browser has disconnected
        except Exception:
            logger.exception("Closing a WebSocket because its session cannot be checked.")
            await self.end(BROKEN)

    async def announce(self, *, is_open: bool) -> None:
        """Tell the user's other sockets that this one is open, or was closed."""
        if self.visitor and (conf.SOCKETS_PER_SESSION or conf.SOCKETS_PER_USER):
            message = {"type": "socket.changed", "open": is_open, "at": self.opened_at}
            message |= {"channel": self.channel_name, "session": self.visitor.public_id}
            await self.channel_layer.group_send(self.group, message)

    async def socket_changed(self, message: dict[str, Any]) -> None:
        """Close this socket when too many were opened after it."""
        channel = message["channel"]
        if not message["open"]:
            self.newer.pop(channel, None)
        elif self.visitor and (message["at"], channel) > (self.opened_at, self.channel_name):
            now = time.monotonic()
            self.newer[channel] = now, message["session"]
            # A socket that is no longer announced belonged to a process that was killed.
            self.newer = {k: v for k, v in self.newer.items() if v[0] > now - 3 * CHECK}
            sessions = [session for _, session in self.newer.values()]
            for limit, number in (
                (conf.SOCKETS_PER_SESSION, sessions.count(self.visitor.public_id)),
                (conf.SOCKETS_PER_USER, len(sessions)),
            ):
                if limit and number >= limit:
                    await self.end(TOO_MANY)

    async def session_ended(self, message: dict[str, Any]) -> None:
        """Close if this session was ended."""
        if self.visitor and message["session"] == self.visitor.public_id:
            await self.end(NOT_LOGGED_IN, _("This session was ended elsewhere."))
        else:
            await self.send_event(event("sessions_changed"))

    async def account_event(self, message: dict[str, Any]) -> None:
        """Receive an event for the page."""
        received = message["event"]
        if received.keys() == {"type", "time", "text"} and all(
            isinstance(value, str) and len(value) <= 10_000 for value in received.values()
        ):
            await self.send_event(received)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Close the socket: events go to the browser only."""
        await self.end(UNSUPPORTED)

    async def send_event(self, event: dict[str, str]) -> None:
        """Send an event to the browser, unless the socket is closed."""
        if not self.is_closed:
            await self.send(text_data=json.dumps(event))

    async def end(self, code: int, text: str = "") -> None:
        """Send `text`, if any, to the browser, and close the WebSocket."""
        if text:
            await self.send_event(event("session_ended", text))
        if not self.is_closed:
            self.is_closed = True
            await self.close(code)
