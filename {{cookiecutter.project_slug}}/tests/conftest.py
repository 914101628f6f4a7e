"""Fixtures of all tests, which run on the active profile."""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from django.conf import settings as django_settings
from django.core import mail
from django.test import Client

from accounts.models import User

PASSWORD = "correct horse battery staple"

if not django_settings.PROFILE.startswith("redis"):
    collect_ignore = ["redis"]


def is_logged_in(browser: Client) -> bool:
    return browser.get("/dashboard/").status_code == 200


def post_login(
    browser: Client, email: str = "ada@example.com", password: str = PASSWORD, **form: str
) -> Any:
    return browser.post("/accounts/login/", {"username": email, "password": password} | form)


def key_of(browser: Client) -> str:
    return browser.cookies[django_settings.SESSION_COOKIE_NAME].value


def with_key(browser: Client, key: str) -> Client:
    browser.cookies[django_settings.SESSION_COOKIE_NAME] = key
    return browser


def link_in_mail() -> str:
    """Return the path of the link in the last mail."""
    found = re.search(r"^https?://[^/]+(/\S+)$", str(mail.outbox[-1].body), re.M)
    assert found
    return found[1]


def choose_password(browser: Client, link: str, password: str) -> Any:
    """Follow a link and choose the password there; return the response."""
    page: Any = browser.get(link, follow=True)
    form = {"new_password1": password, "new_password2": password}
    return browser.post(page.request["PATH_INFO"], form)


@pytest.fixture(autouse=True)
def _quick(settings: Any, tmp_path: Path) -> None:
    """Use a hasher, a static storage and a time for mail that cost nothing."""
    settings.SESSION_FILE_PATH = tmp_path / "sessions"
    settings.MAIL_SECONDS = 0
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.STORAGES = settings.STORAGES | {
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    }
    settings.STATIC_ROOT = None  # WhiteNoise warns of a missing folder


@pytest.fixture
def user(db: None) -> User:
    """A user whose password is PASSWORD."""
    return User.objects.create_user("ada@example.com", PASSWORD)


class Browser(Client):
    """Django's client, with the scheme and the host of SITE_URL."""

    def request(self, **environ: Any) -> Any:
        scheme = "https" if django_settings.HTTPS else "http"
        host = django_settings.ALLOWED_HOSTS[0]
        return super().request(**environ | {"wsgi.url_scheme": scheme, "HTTP_HOST": host})


@pytest.fixture
def https() -> Client:
    """A browser that is not logged in."""
    return Browser()


@pytest.fixture
def new_browser() -> Callable[[], Client]:
    """A function that returns one more browser."""
    return Browser


@pytest.fixture
def log_in(user: User) -> Callable[..., Client]:
    """A function that logs a user in with one more browser."""

    def log_in(email: str = user.email, **environ: Any) -> Client:
        browser = Browser(**environ)
        assert post_login(browser, email).status_code == 302
        return browser

    return log_in


@pytest.fixture
def admin(db: None) -> Client:
    """The browser of a superuser."""
    browser = Browser()
    browser.force_login(User.objects.create_superuser("root@example.com", PASSWORD))
    return browser


class Socket(ApplicationCommunicator):
    """A WebSocket, as the server sees it. (The one of `channels.testing` needs daphne.)"""

    async def connect(self) -> int | None:
        """Return None if the socket is open, or the close code."""
        await self.send_input({"type": "websocket.connect"})
        answer = await self.receive_output(5)
        return None if answer["type"] == "websocket.accept" else answer.get("code", 1000)

    async def send(self, text: str) -> None:
        """Send a text as the browser does."""
        await self.send_input({"type": "websocket.receive", "text": text})

    async def hear(self, seconds: float = 5) -> Any:
        """Return the next message, out of JSON, heartbeats excepted."""
        while True:
            message = await self.receive_output(seconds)
            assert message["type"] == "websocket.send", message
            heard = json.loads(message["text"])
            if heard["type"] != "heartbeat":
                return heard


def socket_of(
    client: Client, path: str = "/ws/events/", application: Any = None, **headers: str | None
) -> Socket:
    """Return the socket, not connected yet, of a page in a browser.

    `application` is that of config/asgi.py unless a test tries one of its own.
    """
    from config import asgi

    cookies = "; ".join(f"{name}={morsel.value}" for name, morsel in client.cookies.items())
    sent = {"origin": django_settings.SITE_URL, "host": "testserver", "cookie": cookies} | headers
    scope = {
        "type": "websocket",
        "path": path,
        "query_string": b"",
        "headers": [(k.encode(), v.encode()) for k, v in sent.items() if v is not None],
    }
    return Socket(application or asgi.application, scope)


@pytest.fixture
def page() -> Callable[..., contextlib.AbstractAsyncContextManager[Socket]]:
    """A context with the open WebSocket of a page in a browser; docs/live.md has an example."""

    @contextlib.asynccontextmanager
    async def page(client: Client, *args: Any, **options: Any) -> AsyncIterator[Socket]:
        socket = socket_of(client, *args, **options)
        assert await socket.connect() is None
        try:
            yield socket
        finally:
            socket.stop(exceptions=False)
            with contextlib.suppress(asyncio.CancelledError):
                await socket.future

    return page
