"""The WebSocket of a page, for the tests of `outlast.live`."""

import asyncio
import contextlib
import json
from collections.abc import Coroutine
from typing import Any

from asgiref.sync import async_to_sync, sync_to_async
from django.test import Client
from outlast import live, testing

SITE = "https://www.example.com"
PATIENCE = 5  # seconds, for what takes some milliseconds; a lost event is noticed after 20


def run(scenario: Coroutine[Any, Any, None]) -> None:
    """Run a scenario; what it calls in synchronous code has the test's thread and database."""

    async def bounded() -> None:
        async with asyncio.timeout(30):
            await scenario

    async_to_sync(bounded)()


class Socket(testing.Socket):
    """A WebSocket of the library's consumer."""

    def __init__(self, client: Client, **headers: str | None) -> None:
        cookie = f"sessionid={client.session.session_key}"
        sent = {"origin": SITE, "cookie": cookie} | headers
        super().__init__(client, "/", live.LiveConsumer.as_asgi(), **sent)


socket_of = sync_to_async(Socket)


def page(client: Client) -> contextlib.AbstractAsyncContextManager[testing.Socket]:
    """The open WebSocket of a page in a browser."""
    return testing.page(client, "/", live.LiveConsumer.as_asgi(), origin=SITE)


async def receives_nothing(socket: testing.Socket) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.3):
            while json.loads((await socket.output_queue.get())["text"])["type"] == "heartbeat":
                pass
        return False
    return True


async def end(socket: testing.Socket, seconds: float = PATIENCE) -> tuple[int, str]:
    """Return the close code, and the text of the last event before it."""
    text = ""
    while (message := await socket.receive_output(seconds))["type"] != "websocket.close":
        text = json.loads(message["text"])["text"]
    return message["code"], text


async def heartbeat(socket: testing.Socket) -> None:
    """Wait for a heartbeat, and accept nothing else."""
    message = await socket.receive_output(PATIENCE)
    assert json.loads(message["text"])["type"] == "heartbeat"
