"""Live events that pages get about an account, and the examples of docs/live.md."""

import asyncio
import re
from collections.abc import Coroutine
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
from outlast.models import Session

from accounts.models import User
from tests.conftest import PASSWORD, post_login

pytestmark = pytest.mark.django_db(transaction=True)

WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:143.0) Gecko/20100101 Firefox/143.0"


def run(scenario: Coroutine[Any, Any, None]) -> None:
    """Run a scenario; its synchronous code runs in the thread of the test, on its database."""

    async def bounded() -> None:
        async with asyncio.timeout(30):
            await scenario

    async_to_sync(bounded)()


def test_pages_show_logins_logouts_and_new_passwords(log_in: Any, page: Any, user: User) -> None:
    User.objects.create_user("eve@example.com", PASSWORD)
    here, there, stranger = log_in(), log_in(HTTP_USER_AGENT=WINDOWS), log_in("eve@example.com")

    async def scenario() -> None:
        async with page(here) as socket, page(stranger) as other:
            await sync_to_async(there.post)("/accounts/logout/")
            answers = [await socket.hear(), await socket.hear()]
            assert [each["type"] for each in answers] == ["signed_out", "sessions_changed"]
            assert answers[0]["text"] == "Logged out of Firefox on Windows."
            await sync_to_async(post_login)(there)
            assert (await socket.hear())["text"] == "Logged in from Firefox on Windows."
            user.set_password("another correct horse")
            await sync_to_async(user.save)()
            assert (await socket.hear())["text"] == "Password changed."
            with pytest.raises(TimeoutError):
                await other.hear(0.3)

    run(scenario())


def test_channels_logs_in_and_out(user: User) -> None:
    """Without a request, so receivers of Django's signals must accept None."""

    async def scenario() -> None:
        session = import_module(settings.SESSION_ENGINE).SessionStore()
        scope = {"session": session, "user": AnonymousUser()}
        await auth.login(scope, user)
        await sync_to_async(session.save)()
        assert await auth.get_user({"session": session}) == user
        await auth.logout(scope)
        assert await Session.objects.filter(user=user).acount() == 0

    run(scenario())


def blocks() -> dict[str, str]:
    """Return the code blocks of docs/live.md by their names."""
    text = (settings.BASE_DIR / "docs" / "live.md").read_text("utf-8")
    return dict(re.findall(r"^```\w+ (\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL))


def test_the_event_of_the_document(https: Client, user: User, page: Any) -> None:
    names: dict[str, Any] = {
        "HttpResponse": HttpResponse, "pytest": pytest,
        "async_to_sync": async_to_sync, "sync_to_async": sync_to_async,
    }  # fmt: skip
    view = dict(names)
    exec(blocks()["view"], view)  # noqa: S102
    exec(blocks()["test"], names)  # noqa: S102
    # The view, instead of the test's own call.
    names["publish"] = lambda *event: view["ship"](SimpleNamespace(user=user))
    names["test_order_is_announced"](https, user, page)


def test_the_consumer_of_the_document(https: Client, user: User, page: Any) -> None:
    names: dict[str, Any] = {}
    exec(blocks()["consumer"], names)  # noqa: S102
    https.force_login(user)

    async def scenario() -> None:
        async with page(https, application=names["EchoConsumer"].as_asgi()) as socket:
            await socket.send("hello")
            assert (await socket.hear())["text"] == "hello"

    run(scenario())
