"""Forged messages to a WebSocket, and too many WebSockets."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from channels.layers import get_channel_layer
from django.contrib import auth
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.test import Client
from django.utils import timezone
from outlast import live, visitors
from outlast.models import Session
from pages import end, heartbeat, page, receives_nothing, run

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("pages_site")]


@pytest.mark.parametrize(
    "frame", ["no JSON", '{"type": "websocket.close"}', b"\xff\x00", "x" * 10**6]
)
def test_a_client_that_sends_is_disconnected(
    frame: str | bytes, log_in: Callable[[], Client], user: User
) -> None:
    async def scenario() -> None:
        client = await sync_to_async(log_in)()
        async with page(client) as socket, page(client) as other:
            kind = "bytes" if isinstance(frame, bytes) else "text"
            await socket.send_input({"type": "websocket.receive", kind: frame})
            assert (await end(socket))[0] == 1003
            await sync_to_async(live.publish)(user.pk, "news", "still here")
            assert (await other.next_event())["text"] == "still here"

    run(scenario())


# What others send through the channel layer


def generated(random: Random) -> Any:
    """Return what any client of the layer might send."""
    kinds = [
        *live.LiveConsumer.messages,
        "dispatch",
        "scope",
        "watch",
        "end",
        "__call__",
        "close",
        "websocket.disconnect",
        "websocket.receive",
        "websocket.connect",
        "send",
        "x",
        "",
        "_",
    ]

    def value(depth: int = 0) -> Any:
        choice = random.randrange(9 if depth < 3 else 6)
        simple = [None, True, random.random(), "\x00é" * random.randrange(4), b"\xff", 2**63]
        if choice < 6:
            return simple[choice]
        if choice < 8:
            return {random.choice(["type", "event", "text", "open"]): value(depth + 1)}
        return [value(depth + 1)] * 3

    fields = ["event", "session", "open", "at", "channel", "code", "text", "bytes"]
    message = {field: value() for field in fields if random.random() < 0.5}
    if random.random() < 0.9:
        message["type"] = random.choice(kinds) if random.random() < 0.9 else value()
    return message if random.random() < 0.95 else value()


@pytest.mark.parametrize("number", [500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_planted_messages_close_no_socket(
    number: int, log_in: Callable[[], Client], user: User, settings: Any
) -> None:
    settings.OUTLAST = {"SOCKETS_PER_SESSION": 0, "SOCKETS_PER_USER": 0}
    random = Random(17)

    async def scenario() -> None:
        async with page(await sync_to_async(log_in)()) as socket:
            layer = get_channel_layer()
            for sent in range(number):
                await layer.group_send(live.group_of(user.pk), generated(random))
                if sent % 50 == 49:  # fewer than may wait for a consumer
                    await layer.group_send(live.group_of(user.pk), account_event(str(sent)))
                    while (await socket.next_event())["text"] != str(sent):
                        pass

    run(scenario())


def account_event(text: str) -> dict[str, Any]:
    return {"type": "account.event", "event": live.event("news", text)}


# Limits


@pytest.mark.parametrize("setting", ["SOCKETS_PER_SESSION", "SOCKETS_PER_USER"])
def test_the_oldest_of_too_many_sockets_is_closed(
    setting: str, log_in: Callable[[], Client], settings: Any
) -> None:
    settings.OUTLAST = {setting: 3}

    async def scenario() -> None:
        clients = [await sync_to_async(log_in)() for _ in range(4)]
        if setting == "SOCKETS_PER_SESSION":
            clients = clients[:1] * 4
        async with contextlib.AsyncExitStack() as stack:
            sockets = [await stack.enter_async_context(page(client)) for client in clients]
            assert (await end(sockets[0]))[0] == 4429
            for socket in sockets[1:]:
                await heartbeat(socket)
            # What has closed counts no longer.
            sockets[3].stop(exceptions=False)
            await asyncio.sleep(0.1)
            await stack.enter_async_context(page(clients[0]))
            assert await receives_nothing(sockets[1])

    run(scenario())


def test_a_socket_counts_as_long_as_it_announces_itself(
    log_in: Callable[[], Client], user: User, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of a process that was killed do not say that they are closed."""
    settings.OUTLAST = {"SOCKETS_PER_USER": 3}
    monkeypatch.setattr(live, "CHECK", 0.3)
    killed = {"type": "socket.changed", "open": True, "at": time.time() + 60, "session": "x"}

    async def three_checks(socket: Any) -> None:
        for _ in range(5):  # 0.8 of a check is the least between two
            await heartbeat(socket)

    async def scenario() -> None:
        client = await sync_to_async(log_in)()
        async with page(client) as oldest, contextlib.AsyncExitStack() as stack:
            for channel in ("one", "two"):
                message = killed | {"channel": channel}
                await get_channel_layer().group_send(live.group_of(user.pk), message)
            await three_checks(oldest)
            for _ in range(2):
                await stack.enter_async_context(page(client))
                assert await receives_nothing(oldest)
            await three_checks(oldest)
            await stack.enter_async_context(page(client))
            assert (await end(oldest))[0] == 4429

    run(scenario())


def test_a_session_of_djangos_engine_has_no_socket_before_its_next_page(
    log_in: Callable[[], Client],
) -> None:
    key = log_in().session.session_key
    Session.objects.filter(pk=key).update(public_id=None, version=None)
    assert async_to_sync(visitors.find_visitor)(key) is None


def change_own_password(client: Client, user: User, settings: Any) -> None:
    """As Django's view: the session gets another key, and the new password's hash."""
    request = HttpRequest()
    request.session, request.user = client.session, user
    user.set_password("another correct horse")
    user.save()
    auth.update_session_auth_hash(request, user)
    request.session.save()


def rotate_secret_key(client: Client, user: User, settings: Any) -> None:
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "the next one"  # noqa: S105


@pytest.mark.parametrize("change", [change_own_password, rotate_secret_key])
def test_stays_open_as_its_user_stays_logged_in(
    change: Callable[[Client, User, Any], None],
    log_in: Callable[[], Client],
    user: User,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live, "CHECK", 0.2)

    async def scenario() -> None:
        client = await sync_to_async(log_in)()
        async with page(client) as socket:
            await sync_to_async(change)(client, user, settings)
            for _ in range(3):  # the first may have been on its way
                await heartbeat(socket)

    run(scenario())


def test_events_without_a_channel_layer_are_dropped(
    settings: Any, caplog: pytest.LogCaptureFixture, db: None
) -> None:
    settings.CHANNEL_LAYERS = {}
    live.publish(1, "note")
    assert not caplog.records


def test_a_look_at_a_session_is_one_query(
    log_in: Callable[[], Client], django_assert_num_queries: Any
) -> None:
    visitor = async_to_sync(visitors.find_visitor)(log_in().session.session_key)
    assert visitor
    with django_assert_num_queries(1):
        async_to_sync(visitors.find_end)(visitor)


@pytest.mark.parametrize("aware", [True, False])
def test_a_session_that_has_ended(
    log_in: Callable[[], Client], settings: Any, aware: bool
) -> None:
    settings.USE_TZ = aware
    visitor = async_to_sync(visitors.find_visitor)(log_in().session.session_key)
    assert visitor and async_to_sync(visitors.find_end)(visitor) > timezone.now()
    Session.objects.all().delete()
    assert async_to_sync(visitors.find_end)(visitor) <= timezone.now()
