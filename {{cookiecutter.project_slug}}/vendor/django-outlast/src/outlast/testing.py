"""The WebSocket of a page without a server, for tests of consumers.

`channels.testing` has one as well, but needs daphne.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from asgiref.testing import ApplicationCommunicator
from django.conf import settings
from django.test import Client
from django.utils.module_loading import import_string

from outlast.conf import conf

# mypy: disallow-untyped-calls=False
# asgiref.testing is not annotated.


class Socket(ApplicationCommunicator):
    """The WebSocket of a page in a browser; not connected yet."""

    def __init__(
        self,
        client: Client,
        path: str = "/ws/events/",
        application: Any = None,
        **headers: str | None,
    ) -> None:
        """Use the project's ASGI application unless another one is given."""
        cookies = "; ".join(f"{name}={morsel.value}" for name, morsel in client.cookies.items())
        sent = {"origin": conf.SITE_URL, "host": "testserver", "cookie": cookies} | headers
        pairs = [(k.encode(), v.encode()) for k, v in sent.items() if v is not None]
        scope = {"type": "websocket", "path": path, "query_string": b"", "headers": pairs}
        super().__init__(application or import_string(settings.ASGI_APPLICATION), scope)

    async def connect(self) -> int | None:
        """Return None if the socket is open, or the close code."""
        await self.send_input({"type": "websocket.connect"})
        answer = await self.receive_output(5)
        return None if answer["type"] == "websocket.accept" else answer.get("code", 1000)

    async def send(self, text: str) -> None:
        """Send a text as the browser does."""
        await self.send_input({"type": "websocket.receive", "text": text})

    async def next_event(self, seconds: float = 5) -> Any:
        """Return the next event, heartbeats excepted."""
        while True:
            message = await self.receive_output(seconds)
            assert message["type"] == "websocket.send", message  # noqa: S101
            event = json.loads(message["text"])
            if event["type"] != "heartbeat":
                return event


@contextlib.asynccontextmanager
async def page(client: Client, *args: Any, **options: Any) -> AsyncIterator[Socket]:
    """Connect the WebSocket of a page, and close it at the end of the block."""
    socket = Socket(client, *args, **options)
    try:
        assert await socket.connect() is None, "The WebSocket was refused."  # noqa: S101
        yield socket
    finally:
        socket.stop(exceptions=False)
        with contextlib.suppress(asyncio.CancelledError):
            await socket.future
