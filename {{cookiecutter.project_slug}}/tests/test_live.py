"""Live events: who gets in, what arrives, and when a socket has to end."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from asgiref.testing import ApplicationCommunicator
from channels.layers import channel_layers, get_channel_layer
from django.contrib.auth import get_user_model
from django.db import OperationalError, transaction
from django.test import Client
from django.utils import timezone
from outlast.models import Session

from accounts import consumers, events
from accounts.models import User
from config.asgi import application
from tests.conftest import PASSWORD

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


class Socket(ApplicationCommunicator):
    """A page's socket, as the server sees it. (Channels' own needs daphne.)"""

    async def connect(self) -> int | None:
        """Return None if the socket is open, or the close code."""
        await self.send_input({"type": "websocket.connect"})
        answer = await self.receive_output(PATIENCE)
        return None if answer["type"] == "websocket.accept" else answer.get("code", 1000)

    async def hear_any(self, seconds: float = PATIENCE) -> dict[str, str]:
        message = await self.receive_output(seconds)
        assert message["type"] == "websocket.send"
        heard = json.loads(message["text"])
        assert set(heard) == {"type", "time", "text"}
        return heard

    async def hear(self, seconds: float = PATIENCE) -> dict[str, str]:
        """Return what arrives but heartbeats."""
        while (heard := await self.hear_any(seconds))["type"] == "heartbeat":
            pass
        return heard

    async def hears_nothing(self) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.3):
                await self.output_queue.get()
            return False
        return True

    async def end(self, seconds: float = PATIENCE) -> tuple[int, str]:
        """Return the close code, and the text of the last event before it."""
        text = ""
        while (message := await self.receive_output(seconds))["type"] != "websocket.close":
            text = json.loads(message["text"])["text"]
        return message["code"], text


def socket_of(client: Client, settings: Any, **headers: str | None) -> Socket:
    """Return a socket that is not connected yet, of a page in a browser."""
    cookies = "; ".join(f"{name}={morsel.value}" for name, morsel in client.cookies.items())
    sent = {"origin": settings.SITE_URL, "host": "testserver", "cookie": cookies} | headers
    scope = {
        "type": "websocket",
        "path": "/ws/events/",
        "headers": [(k.encode(), v.encode()) for k, v in sent.items() if v is not None],
    }
    return Socket(application, scope)


@pytest.fixture
def page(settings: Any) -> Callable[[Client], Any]:
    """A context with the open socket of a page in a browser."""

    @contextlib.asynccontextmanager
    async def page(client: Client) -> AsyncIterator[Socket]:
        socket = socket_of(client, settings)
        assert await socket.connect() is None
        assert (await socket.hear_any())["type"] == "heartbeat"
        try:
            yield socket
        finally:
            socket.stop(exceptions=False)
            with contextlib.suppress(asyncio.CancelledError):
                await socket.future

    return page


post = sync_to_async(Client.post)


# Who gets in


@pytest.mark.parametrize(
    ("headers", "code", "why"),
    [
        ({"origin": "https://evil.example"}, 4403, "evil.example"),
        ({"origin": None}, 4403, "origin is '', and"),
        ({"origin": "null"}, 4403, "null"),
        ({"cookie": None}, 4401, "nobody is logged in"),
        ({"cookie": "sessionid=guessed; __Host-sessionid=guessed"}, 4401, "nobody is logged in"),
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
        socket = socket_of(await sync_to_async(log_in)(), settings, **headers)
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
            socket = socket_of(client, settings, origin=origin)
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
            socket = socket_of(client, settings, origin=origin, host=host)
            assert (await socket.connect() is None) is connected, origin
            socket.stop(exceptions=False)

    run(scenario())


def test_a_session_that_was_ended_is_refused(log_in: Callable[..., Client], settings: Any) -> None:
    async def scenario() -> None:
        client = await sync_to_async(log_in)()
        socket = socket_of(client, settings)
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
            assert await socket.hears_nothing()

    run(scenario())


def test_another_address_is_refused(log_in: Callable[..., Client], settings: Any) -> None:
    async def scenario() -> None:
        socket = socket_of(await sync_to_async(log_in)(), settings)
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
        socket = socket_of(await sync_to_async(log_in)(), settings)
        monkeypatch.setattr(consumers, "peek_user", away)
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
            assert await other.hears_nothing()

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
    "end", [end_by_logout, end_from_elsewhere, change_password, disable, delete_user]
)
def test_ends_with_its_session(
    end: Callable[[Client, User], None], log_in: Callable[..., Client], page: Any, user: User
) -> None:
    async def scenario() -> None:
        client = await sync_to_async(log_in)()
        async with page(client) as socket:
            await sync_to_async(end)(client, user)
            assert await socket.end() == (4401, "This session was ended elsewhere.")

    run(scenario())


def test_the_end_of_one_session_leaves_the_others(
    log_in: Callable[..., Client], page: Any
) -> None:
    async def scenario() -> None:
        here, there = await sync_to_async(log_in)(), await sync_to_async(log_in)()
        async with page(here) as socket, page(there) as other:
            await post(here, "/accounts/sessions/end-others/")
            assert (await other.end())[0] == 4401
            heard = [await socket.hear(), await socket.hear()]
            assert [h["type"] for h in heard] == ["sessions_changed", "sessions_ended"]
            assert heard[1]["text"] == "One session has ended."
            assert await socket.hears_nothing()

    run(scenario())


def test_ends_when_its_session_expires(log_in: Callable[..., Client], page: Any) -> None:
    async def scenario() -> None:
        client = await sync_to_async(log_in)()
        await Session.objects.aupdate(expire_date=timezone.now() + timedelta(seconds=1.5))
        async with page(client) as socket:
            assert await socket.end(3) == (4401, "This session has ended.")

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
    assert consumers.CHECK <= 25
    monkeypatch.setattr(consumers, "CHECK", 0.5)

    async def scenario() -> None:
        async with page(await sync_to_async(log_in)()) as socket:
            await sync_to_async(change)(user)
            assert await socket.end(3) == (4401, "This session has ended.")

    run(scenario())


def test_outlives_the_database_but_not_its_session(
    log_in: Callable[..., Client], page: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "CHECK", 0.2)

    def away(self: Session) -> None:
        raise OperationalError("the database is away")

    async def scenario() -> None:
        client = await sync_to_async(log_in)()
        await Session.objects.aupdate(expire_date=timezone.now() + timedelta(seconds=1.5))
        async with page(client) as socket:
            monkeypatch.setattr(Session, "ends_at", away)
            for _ in range(3):
                assert (await socket.hear_any())["type"] == "heartbeat"
            assert await socket.end(3) == (4401, "This session has ended.")

    run(scenario())


def test_ends_when_nobody_watches_over_its_session(
    log_in: Callable[..., Client],
    page: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(consumers, "CHECK", 0.2)

    def fail(self: Session) -> None:
        raise ZeroDivisionError

    async def scenario() -> None:
        async with page(await sync_to_async(log_in)()) as socket:
            monkeypatch.setattr(Session, "ends_at", fail)
            assert (await socket.end())[0] == 1011

    run(scenario())
    assert "nobody watches" in caplog.text


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
            assert (await socket.end())[0] == 1003
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
            layer = layer._get_layer()
            assert not layer.groups
            assert not layer.channels
        else:
            assert not layer._groups
            assert not layer._channels
        await asyncio.sleep(0)
        assert not [task for task in asyncio.all_tasks() if "watch" in repr(task)]

    run(scenario())
