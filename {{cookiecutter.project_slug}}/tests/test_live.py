"""Live events: who gets in, what arrives, and when a socket has to end."""

import asyncio
import contextlib
import json
import re
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from importlib import import_module
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from channels import auth
from channels.layers import channel_layers, get_channel_layer
from django.conf import settings as django_settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.db import OperationalError, transaction
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone
from outlast import live
from outlast.models import Session

from accounts import events
from accounts.models import User
from tests.conftest import PASSWORD, Socket, socket_of

pytestmark = pytest.mark.django_db(transaction=True)

WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:143.0) Gecko/20100101 Firefox/143.0"
PATIENCE = 5  # seconds, for what takes some milliseconds; a lost event is noticed after 20
Scenario = Callable[..., Coroutine[Any, Any, None]]


def run(scenario: Coroutine[Any, Any, None]) -> None:
    """Run a scenario; what it calls in synchronous code has the test's thread and database."""

    async def bounded() -> None:
        async with asyncio.timeout(30):
            await scenario

    async_to_sync(bounded)()


@pytest.fixture
def log_in(user: User, new_browser: Callable[[], Client]) -> Callable[..., Client]:
    """A function that logs a person in with one more browser."""

    def log_in(email: str = user.email, **form: str) -> Client:
        client = new_browser()
        client.defaults["HTTP_USER_AGENT"] = WINDOWS
        answer = client.post("/accounts/login/", {"username": email, "password": PASSWORD} | form)
        assert answer.status_code == 302
        return client

    return log_in


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


post = sync_to_async(Client.post)


# Who gets in


@pytest.mark.parametrize(
    ("headers", "code", "why"),
    [
        ({"origin": "https://evil.example"}, 4403, "evil.example"),
        ({"origin": None}, 4403, "origin is '', and"),
        ({"origin": "null"}, 4403, "null"),
        ({"cookie": None}, 4401, "no user is logged in"),
        ({"cookie": "sessionid=guessed; __Host-sessionid=guessed"}, 4401, "no user is logged in"),
    ],
)
def test_refused(
    headers: dict[str, Any],
    code: int,
    why: str,
    log_in: Callable[..., Client],
    settings: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        socket = socket_of(await sync_to_async(log_in)(), **headers)
        assert await socket.connect() == code

    run(scenario())
    assert why in caplog.text


def test_a_subdomain_and_another_port_are_foreign(
    log_in: Callable[..., Client], settings: Any
) -> None:
    site = settings.SITE_URL
    foreign = [site.replace("://", "://evil."), f"{site}1", f"{site}.evil.example", f"{site}@evil"]

    async def scenario() -> None:
        client = await sync_to_async(log_in)()
        for origin in foreign:
            socket = socket_of(client, origin=origin)
            assert await socket.connect() == 4403, origin

    run(scenario())


def test_while_developing_any_name_of_this_machine_is_the_site(
    log_in: Callable[..., Client], settings: Any
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
            socket = socket_of(client, origin=origin, host=host)
            assert (await socket.connect() is None) is connected, origin
            socket.stop(exceptions=False)

    run(scenario())


def test_a_session_that_was_ended_is_refused(log_in: Callable[..., Client], settings: Any) -> None:
    async def scenario() -> None:
        client = await sync_to_async(log_in)()
        socket = socket_of(client)
        await post(client, "/accounts/logout/")
        assert await socket.connect() == 4401

    run(scenario())


def test_a_page_stays_logged_in_when_the_secret_key_is_replaced(
    log_in: Callable[..., Client], page: Any, settings: Any
) -> None:
    """The handshake cannot send a cookie, so it writes nothing; the next page does."""

    async def scenario() -> None:
        client = await sync_to_async(log_in)()
        before = await Session.objects.values().aget()
        settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
        settings.SECRET_KEY = "a new one " * 6
        async with page(client):
            assert await Session.objects.values().aget() == before
        async with page(client) as socket:
            answer = await sync_to_async(client.get)("/dashboard/")
            assert answer.status_code == 200
            assert await Session.objects.values_list("session_key").aget() != before["session_key"]
            assert await hears_nothing(socket)

    run(scenario())


def test_another_address_is_refused(log_in: Callable[..., Client], settings: Any) -> None:
    async def scenario() -> None:
        socket = socket_of(await sync_to_async(log_in)())
        socket.scope["path"] = "/ws/other/"
        assert await socket.connect() == 1000

    run(scenario())


def test_without_the_database_it_is_refused_for_now(
    log_in: Callable[..., Client],
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def away(*args: Any) -> None:
        raise OperationalError("the database is away")

    async def scenario() -> None:
        socket = socket_of(await sync_to_async(log_in)())
        monkeypatch.setattr(live, "peek_user", away)
        assert await socket.connect() == 4503

    run(scenario())
    assert "the database is away" in caplog.text


# What arrives


def test_a_login_is_told_to_the_other_browser_and_to_nobody_else(
    log_in: Callable[..., Client], page: Any
) -> None:
    get_user_model().objects.create_user("eve@example.com", PASSWORD)

    async def scenario() -> None:
        first = await sync_to_async(log_in)()
        stranger = await sync_to_async(log_in)("eve@example.com")
        async with page(first) as socket, page(stranger) as other:
            await sync_to_async(log_in)()
            heard = await socket.hear()
            assert heard["type"] == "signed_in"
            assert heard["text"] == "Signed in from Firefox on Windows."
            assert abs(timezone.now() - datetime.fromisoformat(heard["time"])) < (
                timedelta(seconds=5)
            )
            assert await hears_nothing(other)

    run(scenario())


def test_a_logout_elsewhere_is_told(log_in: Callable[..., Client], page: Any) -> None:
    async def scenario() -> None:
        here, there = await sync_to_async(log_in)(), await sync_to_async(log_in)()
        async with page(here) as socket:
            await post(there, "/accounts/logout/")
            heard = [await socket.hear(), await socket.hear()]
            assert [h["type"] for h in heard] == ["signed_out", "sessions_changed"]
            assert heard[0]["text"] == "Signed out of Firefox on Windows."

    run(scenario())


def test_who_cannot_be_told_of_it_logs_in_and_out_all_the_same(
    log_in: Callable[..., Client],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail(*args: Any) -> None:
        raise ConnectionError("no layer")

    monkeypatch.setattr(channel_layers["default"], "group_send", fail, raising=False)
    browser = log_in()
    assert browser.post("/accounts/logout/").status_code == 302
    assert not Session.objects.alive().exists()
    assert "no layer" in caplog.text


def test_nothing_is_told_that_was_not_committed(
    log_in: Callable[..., Client], page: Any, user: User
) -> None:
    def change(commit: bool) -> None:
        with contextlib.suppress(ZeroDivisionError), transaction.atomic():
            events.publish(user.pk, "news", "It happened." if commit else "It did not.")
            if not commit:
                raise ZeroDivisionError

    async def scenario() -> None:
        async with page(await sync_to_async(log_in)()) as socket:
            await sync_to_async(change)(False)
            await sync_to_async(change)(True)
            assert (await socket.hear())["text"] == "It happened."

    run(scenario())


def test_news_of_other_versions_of_the_site_is_ignored(
    log_in: Callable[..., Client], page: Any, user: User
) -> None:
    async def scenario() -> None:
        async with page(await sync_to_async(log_in)()) as socket:
            layer = get_channel_layer()
            await layer.group_send(events.group_of(user.pk), {"type": "from.the.future"})
            await sync_to_async(events.publish)(user.pk, "news", "after it")
            assert (await socket.hear())["text"] == "after it"

    run(scenario())


# When it ends


def end_by_logout(client: Client, user: User) -> None:
    client.post("/accounts/logout/")


def end_from_elsewhere(client: Client, user: User) -> None:
    Session.objects.filter(session_key=client.session.session_key).delete()


def change_password(client: Client, user: User) -> None:
    user.set_password("another correct horse")
    user.save()


def disable(client: Client, user: User) -> None:
    user.is_active = False
    user.save()


def delete_user(client: Client, user: User) -> None:
    user.delete()


@pytest.mark.parametrize(
    "action", [end_by_logout, end_from_elsewhere, change_password, disable, delete_user]
)
def test_ends_with_its_session(
    action: Callable[[Client, User], None], log_in: Callable[..., Client], page: Any, user: User
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


def test_the_end_of_one_session_leaves_the_others(
    log_in: Callable[..., Client], page: Any
) -> None:
    async def scenario() -> None:
        here, there = await sync_to_async(log_in)(), await sync_to_async(log_in)()
        async with page(here) as socket, page(there) as other:
            await post(here, "/accounts/sessions/end-others/")
            assert (await end(other))[0] == 4401
            heard = [await socket.hear(), await socket.hear()]
            assert [h["type"] for h in heard] == ["sessions_changed", "sessions_ended"]
            assert heard[1]["text"] == "One session has ended."
            assert await hears_nothing(socket)

    run(scenario())


def test_ends_when_its_session_expires(log_in: Callable[..., Client], page: Any) -> None:
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
        lambda user: User.objects.filter(pk=user.pk).update(password="!"),
        lambda user: Session.objects.update(user=None),
    ],
    ids=["session deleted in SQL", "user disabled", "password changed", "other user"],
)
def test_ends_though_nobody_said_so(
    change: Callable[[User], Any],
    log_in: Callable[..., Client],
    page: Any,
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
    log_in: Callable[..., Client], page: Any, monkeypatch: pytest.MonkeyPatch
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
    log_in: Callable[..., Client],
    page: Any,
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
    frame: str | bytes, log_in: Callable[..., Client], page: Any, user: User
) -> None:
    async def scenario() -> None:
        client = await sync_to_async(log_in)()
        async with page(client) as socket, page(client) as other:
            kind = "bytes" if isinstance(frame, bytes) else "text"
            await socket.send_input({"type": "websocket.receive", kind: frame})
            assert (await end(socket))[0] == 1003
            await sync_to_async(events.publish)(user.pk, "news", "still here")
            assert (await other.hear())["text"] == "still here"

    run(scenario())


def test_nothing_is_left_of_a_socket(log_in: Callable[..., Client], page: Any) -> None:
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
    number: int, log_in: Callable[..., Client], page: Any, user: User, settings: Any
) -> None:
    settings.OUTLAST = settings.OUTLAST | {"SOCKETS_PER_SESSION": 0, "SOCKETS_PER_USER": 0}
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
    setting: str, log_in: Callable[..., Client], page: Any, settings: Any
) -> None:
    settings.OUTLAST = settings.OUTLAST | {setting: 3}

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


# Channels' own login


def test_channels_logs_in_and_out(user: User) -> None:
    async def scenario() -> None:
        session = import_module(django_settings.SESSION_ENGINE).SessionStore()
        scope = {"session": session, "user": AnonymousUser()}
        await auth.login(scope, user)
        await sync_to_async(session.save)()
        assert await auth.get_user({"session": session}) == user
        assert await Session.objects.filter(user=user).acount() == 1
        await auth.logout(scope)
        assert await Session.objects.filter(user=user).acount() == 0

    run(scenario())


# docs/live.md


def blocks() -> dict[str, str]:
    text = (django_settings.BASE_DIR / "docs" / "live.md").read_text("utf-8")
    return dict(re.findall(r"^```\w+ (\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL))


def test_the_document_s_event_arrives_by_the_document_s_test(
    https: Client, user: User, page: Any
) -> None:
    names: dict[str, Any] = {
        "HttpResponse": HttpResponse, "pytest": pytest,
        "async_to_sync": async_to_sync, "sync_to_async": sync_to_async,
    }  # fmt: skip
    view = dict(names)
    exec(blocks()["view"], view)  # noqa: S102
    exec(blocks()["test"], names)  # noqa: S102
    # The view, in place of the test's own call.
    names["publish"] = lambda *event: view["ship"](SimpleNamespace(user=user))
    names["test_order_is_announced"](https, user, page)


def test_the_document_s_consumer_answers(https: Client, user: User, page: Any) -> None:
    names: dict[str, Any] = {}
    exec(blocks()["consumer"], names)  # noqa: S102
    https.force_login(user)

    async def scenario() -> None:
        async with page(https, application=names["EchoConsumer"].as_asgi()) as socket:
            await socket.send("hello")
            assert (await socket.hear())["text"] == "hello"

    run(scenario())


def test_a_session_that_changes_its_own_password_keeps_its_sockets(
    log_in: Callable[..., Client], user: User
) -> None:
    client = log_in()
    visitor = async_to_sync(live.find_visitor)(client.session.session_key)
    assert visitor
    new = "another correct horse"
    form = {"old_password": PASSWORD, "new_password1": new, "new_password2": new}
    assert client.post("/accounts/password/change/", form).status_code == 302
    assert async_to_sync(live.find_end)(visitor) > timezone.now()
    change_password(client, user)  # elsewhere: this session has ended
    assert async_to_sync(live.find_end)(visitor) < timezone.now()


def test_a_session_of_djangos_engine_has_no_socket_before_its_next_page(
    log_in: Callable[..., Client],
) -> None:
    key = log_in().session.session_key
    Session.objects.filter(pk=key).update(public_id=None, version=None)
    assert async_to_sync(live.find_visitor)(key) is None
