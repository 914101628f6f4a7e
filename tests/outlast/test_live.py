"""WebSockets of logged-in users: who gets in, what arrives, and when a socket has to end."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from asgiref.testing import ApplicationCommunicator
from channels.layers import get_channel_layer
from django.contrib.auth.models import User
from django.db import OperationalError, transaction
from django.test import Client
from django.utils import timezone
from outlast import live
from outlast.models import Session
from outlast.sessions import session_ended

pytestmark = pytest.mark.django_db(transaction=True)

SITE = "https://www.example.com"
PATIENCE = 5  # seconds, for what takes some milliseconds; a lost event is noticed after 20


@pytest.fixture(autouse=True)
def _site(settings: Any) -> Iterator[None]:
    """A site that closes the sockets of ended sessions, as the template's do."""

    def close(session: Any, **kwargs: Any) -> None:
        live.send_to_user(
            session.user_id, {"type": "session.ended", "session": str(session.public_id)}
        )

    settings.CSRF_TRUSTED_ORIGINS = [SITE]
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "outlast.channels.local.LocalLayer"}}
    session_ended.connect(close)
    yield
    session_ended.disconnect(close)


def run(scenario: Coroutine[Any, Any, None]) -> None:
    """Run a scenario; what it calls in synchronous code has the test's thread and database."""

    async def bounded() -> None:
        async with asyncio.timeout(30):
            await scenario

    async_to_sync(bounded)()


@pytest.fixture
def log_in(user: User) -> Callable[[], Client]:
    """A function that logs the user in with one more browser."""

    def log_in() -> Client:
        client = Client()
        client.force_login(user)
        return client

    return log_in


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


# Who gets in


@pytest.mark.parametrize(
    ("headers", "code", "why"),
    [
        ({"origin": "https://evil.example"}, 4403, "evil.example"),
        ({"origin": None}, 4403, "origin is '', and"),
        ({"origin": "null"}, 4403, "null"),
        ({"origin": SITE.replace("://", "://evil.")}, 4403, "https://evil."),
        ({"origin": f"{SITE}1"}, 4403, "com1"),
        ({"origin": f"{SITE}@evil"}, 4403, "@evil"),
        ({"cookie": None}, 4401, "no user is logged in"),
        ({"cookie": "sessionid=guessed"}, 4401, "no user is logged in"),
    ],
)
def test_refused(
    headers: dict[str, Any],
    code: int,
    why: str,
    log_in: Callable[[], Client],
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        socket = await socket_of(await sync_to_async(log_in)(), **headers)
        assert await socket.connect() == code

    run(scenario())
    assert why in caplog.text


def test_while_developing_any_name_of_this_machine_is_the_site(
    log_in: Callable[[], Client], settings: Any
) -> None:
    settings.DEBUG = True
    settings.ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
    settings.CSRF_TRUSTED_ORIGINS = ["http://localhost:8000"]

    async def scenario() -> None:
        client = await sync_to_async(log_in)()
        for origin, host, connected in (
            ("http://localhost:8000", "localhost:8000", True),
            ("http://127.0.0.1:8000", "127.0.0.1:8000", True),
            ("http://127.0.0.1:8000", "127.0.0.1:9000", False),
            ("http://evil.example", "evil.example", False),
        ):
            socket = await socket_of(client, origin=origin, host=host)
            assert (await socket.connect() is None) is connected, origin
            socket.stop(exceptions=False)

    run(scenario())


def test_without_the_database_it_is_refused_for_now(
    log_in: Callable[[], Client],
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def away(*args: Any) -> None:
        raise OperationalError("the database is away")

    async def scenario() -> None:
        socket = await socket_of(await sync_to_async(log_in)())
        monkeypatch.setattr(live, "peek_user", away)
        assert await socket.connect() == 4503

    run(scenario())
    assert "the database is away" in caplog.text


# What arrives


def test_nothing_is_told_that_was_not_committed(log_in: Callable[[], Client], user: User) -> None:
    def change(commit: bool) -> None:
        with contextlib.suppress(ZeroDivisionError), transaction.atomic():
            live.publish(user.pk, "news", "It happened." if commit else "It did not.")
            if not commit:
                raise ZeroDivisionError

    async def scenario() -> None:
        async with page(await sync_to_async(log_in)()) as socket:
            await sync_to_async(change)(False)
            await sync_to_async(change)(True)
            assert (await socket.hear())["text"] == "It happened."

    run(scenario())


def test_news_of_other_versions_of_the_site_is_ignored(
    log_in: Callable[[], Client], user: User
) -> None:
    async def scenario() -> None:
        async with page(await sync_to_async(log_in)()) as socket:
            layer = get_channel_layer()
            await layer.group_send(live.group_of(user.pk), {"type": "from.the.future"})
            await sync_to_async(live.publish)(user.pk, "news", "after it")
            assert (await socket.hear())["text"] == "after it"

    run(scenario())


# When it ends


def end_by_logout(client: Client, user: User) -> None:
    client.post("/logout/")


def end_from_elsewhere(client: Client, user: User) -> None:
    Session.objects.filter(session_key=client.session.session_key).delete()


def delete_user(client: Client, user: User) -> None:
    user.delete()


@pytest.mark.parametrize("action", [end_by_logout, end_from_elsewhere, delete_user])
def test_ends_with_its_session(
    action: Callable[[Client, User], None], log_in: Callable[[], Client], user: User
) -> None:
    async def scenario() -> None:
        client = await sync_to_async(log_in)()
        async with page(client) as socket:
            # After its first look at the session only the message can end it so soon.
            first = await socket.receive_output(5)
            assert json.loads(first["text"])["type"] == "heartbeat"
            await sync_to_async(action)(client, user)
            assert await end(socket) == (4401, "This session was ended elsewhere.")

    run(scenario())


def test_ends_when_its_session_expires(log_in: Callable[[], Client]) -> None:
    async def scenario() -> None:
        client = await sync_to_async(log_in)()
        await Session.objects.aupdate(expire_date=timezone.now() + timedelta(seconds=1.5))
        async with page(client) as socket:
            assert await end(socket, 3) == (4401, "This session has ended.")

    run(scenario())


@pytest.mark.parametrize(
    "change",
    [
        lambda user: Session.objects.all()._raw_delete(Session.objects.db),
        lambda user: User.objects.filter(pk=user.pk).update(is_active=False),
        lambda user: User.objects.filter(pk=user.pk).update(password="!"),  # noqa: S106
        lambda user: Session.objects.update(user=None),
    ],
    ids=["session deleted in SQL", "user disabled", "password changed", "other user"],
)
def test_ends_though_nobody_said_so(
    change: Callable[[User], Any],
    log_in: Callable[[], Client],
    user: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As when a process dies between the commit and the message."""
    assert live.CHECK <= 25
    monkeypatch.setattr(live, "CHECK", 0.5)

    async def scenario() -> None:
        async with page(await sync_to_async(log_in)()) as socket:
            await sync_to_async(change)(user)
            assert await end(socket, 3) == (4401, "This session has ended.")

    run(scenario())


def test_outlives_the_database_but_not_its_session(
    log_in: Callable[[], Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "CHECK", 0.2)

    def away(self: Session) -> None:
        raise OperationalError("the database is away")

    async def scenario() -> None:
        client = await sync_to_async(log_in)()
        await Session.objects.aupdate(expire_date=timezone.now() + timedelta(seconds=1.5))
        async with page(client) as socket:
            monkeypatch.setattr(Session, "ends_at", away)
            for _ in range(3):
                await beat(socket)
            assert await end(socket, 3) == (4401, "This session has ended.")

    run(scenario())


def test_ends_when_nobody_watches_over_its_session(
    log_in: Callable[[], Client],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(live, "CHECK", 0.2)

    def fail(self: Session) -> None:
        raise ZeroDivisionError

    async def scenario() -> None:
        async with page(await sync_to_async(log_in)()) as socket:
            monkeypatch.setattr(Session, "ends_at", fail)
            assert (await end(socket))[0] == 1011

    run(scenario())
    assert "cannot be watched" in caplog.text


@pytest.mark.parametrize(
    "frame", ["no JSON", '{"type": "websocket.close"}', b"\xff\x00", "x" * 10**6]
)
def test_who_sends_is_cut_off_and_nobody_else(
    frame: str | bytes, log_in: Callable[[], Client], user: User
) -> None:
    async def scenario() -> None:
        client = await sync_to_async(log_in)()
        async with page(client) as socket, page(client) as other:
            kind = "bytes" if isinstance(frame, bytes) else "text"
            await socket.send_input({"type": "websocket.receive", kind: frame})
            assert (await end(socket))[0] == 1003
            await sync_to_async(live.publish)(user.pk, "news", "still here")
            assert (await other.hear())["text"] == "still here"

    run(scenario())


def test_nothing_is_left_of_a_socket(log_in: Callable[[], Client]) -> None:
    async def scenario() -> None:
        client = await sync_to_async(log_in)()
        async with page(client):
            pass
        layer = get_channel_layer()
        if hasattr(layer, "_get_layer"):
            state = [layer.groups, layer.channels]
        else:
            state = [layer._groups, layer._channels]
        while any(state) or [task for task in asyncio.all_tasks() if "watch" in repr(task)]:
            await asyncio.sleep(0.01)

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
                    while (await socket.hear())["text"] != str(sent):
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
                await beat(socket)
            # What has closed counts no longer.
            sockets[3].stop(exceptions=False)
            await asyncio.sleep(0.1)
            await stack.enter_async_context(page(clients[0]))
            assert await hears_nothing(sockets[1])

    run(scenario())


def test_a_session_of_djangos_engine_has_no_socket_before_its_next_page(
    log_in: Callable[[], Client],
) -> None:
    key = log_in().session.session_key
    Session.objects.filter(pk=key).update(public_id=None, version=None)
    assert async_to_sync(live.find_visitor)(key) is None
