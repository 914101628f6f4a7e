"""A page's WebSocket without a server, for the tests of `outlast.live`."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from asgiref.sync import async_to_sync, sync_to_async
from asgiref.testing import ApplicationCommunicator
from django.test import Client
from outlast import live

SITE = "https://www.example.com"
PATIENCE = 5  # seconds, for what takes some milliseconds; a lost event is noticed after 20


def run(scenario: Coroutine[Any, Any, None]) -> None:
    """Run a scenario; what it calls in synchronous code has the test's thread and database."""

    async def bounded() -> None:
        async with asyncio.timeout(30):
            await scenario

    async_to_sync(bounded)()


class Socket(ApplicationCommunicator):
    """A WebSocket, as the server sees it."""

    def __init__(self, client: Client, **headers: str | None) -> None:
        cookie = f"sessionid={client.session.session_key}"
        sent = {"origin": SITE, "host": "testserver", "cookie": cookie} | headers
        pairs = [(k.encode(), v.encode()) for k, v in sent.items() if v is not None]
        scope = {"type": "websocket", "path": "/", "query_string": b"", "headers": pairs}
        super().__init__(live.LiveConsumer.as_asgi(), scope)

    async def connect(self) -> int | None:
        """Return None if the socket is open, or the close code."""
        await self.send_input({"type": "websocket.connect"})
        answer = await self.receive_output(PATIENCE)
        return None if answer["type"] == "websocket.accept" else answer["code"]

    async def hear(self) -> Any:
        """Return the next message, heartbeats excepted."""
        while True:
            message = await self.receive_output(PATIENCE)
            assert message["type"] == "websocket.send", message
            if (heard := json.loads(message["text"]))["type"] != "heartbeat":
                return heard


socket_of = sync_to_async(Socket)


@contextlib.asynccontextmanager
async def page(client: Client) -> AsyncIterator[Socket]:
    """The open WebSocket of a page in a browser."""
    socket = await socket_of(client)
    assert await socket.connect() is None
    try:
        yield socket
    finally:
        socket.stop(exceptions=False)
        with contextlib.suppress(asyncio.CancelledError):
            await socket.future


async def hears_nothing(socket: Socket) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.3):
            while json.loads((await socket.output_queue.get())["text"])["type"] == "heartbeat":
                pass
        return False
    return True


async def end(socket: Socket, seconds: float = PATIENCE) -> tuple[int, str]:
    """Return the close code, and the text of the last event before it."""
    text = ""
    while (message := await socket.receive_output(seconds))["type"] != "websocket.close":
        text = json.loads(message["text"])["text"]
    return message["code"], text


async def beat(socket: Socket) -> None:
    """Wait for a heartbeat, and accept nothing else."""
    message = await socket.receive_output(PATIENCE)
    assert json.loads(message["text"])["type"] == "heartbeat"
