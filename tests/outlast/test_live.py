"""WebSockets of logged-in users: who can connect, what they receive, when they close."""

import asyncio
import contextlib
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from django.contrib.auth.models import User
from django.db import OperationalError, transaction
from django.test import Client
from django.utils import timezone
from outlast import live, visitors
from outlast.models import Session
from pages import SITE, end, heartbeat, page, run, socket_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("pages_site")]


# Who gets in


@pytest.mark.parametrize(
    ("headers", "code", "why"),
    [
        ({"origin": "https://evil.example"}, 4403, "evil.example"),
        ({"origin": None}, 4403, "origin is '', not"),
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


def test_in_development_any_name_of_this_machine_is_accepted(
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
        monkeypatch.setattr(visitors, "peek_user", away)
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
            assert (await socket.next_event())["text"] == "It happened."

    run(scenario())


def test_news_of_other_versions_of_the_site_is_ignored(
    log_in: Callable[[], Client], user: User
) -> None:
    async def scenario() -> None:
        async with page(await sync_to_async(log_in)()) as socket:
            layer = get_channel_layer()
            await layer.group_send(live.group_of(user.pk), {"type": "from.the.future"})
            await sync_to_async(live.publish)(user.pk, "news", "after it")
            assert (await socket.next_event())["text"] == "after it"

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
def test_ends_without_a_message(
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
                await heartbeat(socket)
            assert await end(socket, 3) == (4401, "This session has ended.")

    run(scenario())


def test_ends_when_its_session_cannot_be_checked(
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
    assert "cannot be checked" in caplog.text


def test_nothing_is_left_of_a_socket(log_in: Callable[[], Client]) -> None:
    async def scenario() -> None:
        client = await sync_to_async(log_in)()
        async with page(client):
            pass
        layer = get_channel_layer()
        state = [layer._groups, layer._channels]
        while any(state) or [task for task in asyncio.all_tasks() if "watch" in repr(task)]:
            await asyncio.sleep(0.01)

    run(scenario())
