"""Live events that pages get about an account."""

import asyncio
from collections.abc import Coroutine
from importlib import import_module
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from channels import auth
from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from outlast.models import Session
from outlast.testing import Socket

from accounts.models import User
from tests.conftest import post_login

pytestmark = pytest.mark.django_db(transaction=True)

WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:143.0) Gecko/20100101 Firefox/143.0"


def run(scenario: Coroutine[Any, Any, None]) -> None:
    """Run a scenario; its synchronous code runs in the thread of the test, on its database."""

    async def bounded() -> None:
        async with asyncio.timeout(30):
            await scenario

    async_to_sync(bounded)()


def test_pages_show_logins_logouts_and_new_passwords(log_in: Any, page: Any, user: User) -> None:
    here, there = log_in(), log_in(HTTP_USER_AGENT=WINDOWS)

    async def scenario() -> None:
        async with page(here) as socket:
            await sync_to_async(there.post)("/accounts/logout/")
            answers = [await socket.next_event(), await socket.next_event()]
            assert [each["type"] for each in answers] == ["signed_out", "sessions_changed"]
            assert answers[0]["text"] == "Logged out of Firefox on Windows."
            await sync_to_async(post_login)(there)
            assert (await socket.next_event())["text"] == "Logged in from Firefox on Windows."
            user.set_password("another correct horse")
            await sync_to_async(user.save)()
            assert (await socket.next_event())["text"] == "Password changed."

    run(scenario())


def test_other_addresses_and_origins_are_refused(log_in: Any) -> None:
    browser = log_in()
    assert async_to_sync(Socket(browser, "/ws/other/").connect)() == 1000
    assert async_to_sync(Socket(browser, origin="https://evil.example").connect)() == 4403


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
