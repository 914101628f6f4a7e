"""Live events: what pages are told of an account. The socket itself is tested with outlast."""

import asyncio
import re
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from channels import auth
from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone
from outlast import visitors
from outlast.models import Session

from accounts.models import User
from tests.conftest import PASSWORD, key_of, post_login, socket_of

pytestmark = pytest.mark.django_db(transaction=True)

WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:143.0) Gecko/20100101 Firefox/143.0"
NEW = "another correct horse"


def run(scenario: Coroutine[Any, Any, None]) -> None:
    """Run a scenario; what it calls in synchronous code has the test's thread and database."""

    async def bounded() -> None:
        async with asyncio.timeout(30):
            await scenario

    async_to_sync(bounded)()


def change_password(browser: Client) -> None:
    form = {"old_password": PASSWORD, "new_password1": NEW, "new_password2": NEW}
    assert browser.post("/accounts/password/change/", form).status_code == 302


@pytest.mark.parametrize(
    ("action", "kinds", "text"),
    [
        (post_login, ["signed_in"], "Logged in from Firefox on Windows."),
        (
            lambda there: there.post("/accounts/logout/"),
            ["signed_out", "sessions_changed"],
            "Logged out of Firefox on Windows.",
        ),
    ],
)
def test_pages_are_told(
    action: Callable[[Client], Any], kinds: list[str], text: str, log_in: Any, page: Any
) -> None:
    User.objects.create_user("eve@example.com", PASSWORD)
    here, there, stranger = log_in(), log_in(HTTP_USER_AGENT=WINDOWS), log_in("eve@example.com")
    if action is post_login:
        there.cookies.clear()

    async def scenario() -> None:
        async with page(here) as socket, page(stranger) as other:
            await sync_to_async(action)(there)
            heard = [await socket.hear() for _ in kinds]
            assert [each["type"] for each in heard] == kinds
            assert heard[0]["text"] == text
            said = datetime.fromisoformat(heard[0]["time"])
            assert abs(timezone.now() - said) < timedelta(seconds=5)
            with pytest.raises(TimeoutError):
                await other.hear(0.3)

    run(scenario())


def test_ended_sessions_close_their_pages_and_others_are_told(log_in: Any, page: Any) -> None:
    here, there = log_in(), log_in()

    async def scenario() -> None:
        async with page(here) as socket, page(there) as other:
            await sync_to_async(here.post)("/accounts/sessions/end-others/")
            assert (await other.hear())["text"] == "This session was ended elsewhere."
            assert (await other.receive_output(5))["code"] == 4401
            heard = [await socket.hear(), await socket.hear()]
            assert [each["type"] for each in heard] == ["sessions_changed", "sessions_ended"]
            assert heard[1]["text"] == "One session has ended."

    run(scenario())


def test_a_session_that_changes_its_own_password_keeps_its_sockets(
    log_in: Any, user: User
) -> None:
    browser = log_in()
    visitor = async_to_sync(visitors.find_visitor)(key_of(browser))
    assert visitor
    change_password(browser)
    assert async_to_sync(visitors.find_end)(visitor) > timezone.now()
    user.set_password("a third horse")
    user.save()  # elsewhere: this session has ended
    assert async_to_sync(visitors.find_end)(visitor) < timezone.now()


def test_other_addresses_are_refused(log_in: Any) -> None:
    browser = log_in()

    async def scenario() -> None:
        assert await socket_of(browser, "/ws/other/").connect() == 1000
        assert await socket_of(browser, origin="https://evil.example").connect() == 4403
        await sync_to_async(browser.post)("/accounts/logout/")
        assert await socket_of(browser).connect() == 4401

    run(scenario())


def test_channels_logs_in_and_out(user: User) -> None:
    async def scenario() -> None:
        session = import_module(settings.SESSION_ENGINE).SessionStore()
        scope = {"session": session, "user": AnonymousUser()}
        await auth.login(scope, user)
        await sync_to_async(session.save)()
        assert await auth.get_user({"session": session}) == user
        assert await Session.objects.filter(user=user).acount() == 1
        await auth.logout(scope)
        assert await Session.objects.filter(user=user).acount() == 0

    run(scenario())


# --- docs/live.md ---


def blocks() -> dict[str, str]:
    text = (settings.BASE_DIR / "docs" / "live.md").read_text("utf-8")
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
