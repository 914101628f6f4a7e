"""Whatever touches Redis between login and logout, none of it needs Redis."""

import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from environ import FileAwareEnv
from outlast.models import Session

from accounts.models import User
from config import profiles
from tests.conftest import Browser, is_logged_in, key_of, post_login, with_key

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(params=["refused", "silent"])
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    """A port that refuses connections, or takes them and says nothing."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        if request.param == "silent":
            reserved.listen(100)
        yield reserved.getsockname()[1]


@pytest.fixture
def dialled(port: int, settings: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The ports that are dialled, while everything of the profile is told to use `port`."""
    monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{port}/0")
    monkeypatch.setenv("REDIS_SENTINELS", f"127.0.0.1:{port}")
    monkeypatch.setenv("REDIS_CLUSTER", f"127.0.0.1:{port}")
    profile = profiles.load(settings.PROFILE, FileAwareEnv(), settings.VAR, "site")
    settings.CACHES, settings.CHANNEL_LAYERS = profile.caches, profile.channel_layers
    ports, connect = [], socket.socket.connect

    def spy(self: socket.socket, address: Any) -> None:
        ports.append(address[1])
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", spy)
    return ports


def test_people_log_in_look_around_and_log_out(
    port: int, dialled: list[int], user: User, https: Client
) -> None:
    began = time.monotonic()
    other = Browser()
    for browser in (https, other):
        browser.get("/accounts/login/")
        assert post_login(browser)["Location"] == "/dashboard/"
        assert is_logged_in(browser)
    assert https.get("/accounts/sessions/").status_code == 200
    https.post("/accounts/sessions/end-others/")
    assert not is_logged_in(other)
    key = key_of(https)
    assert https.post("/accounts/logout/").status_code == 302
    assert not is_logged_in(with_key(https, key))
    assert not Session.objects.exists()
    assert set(dialled) == {port}, "something else was dialled, or Redis was not asked at all"
    assert time.monotonic() - began < 5  # seconds; usually 0.1 where refused, 0.3 where silent


def test_guesses_are_counted_and_the_cache_is_a_miss(
    dialled: list[int], user: User, https: Client
) -> None:
    answers = [post_login(https, password="wrong").status_code for _ in range(6)]
    assert answers == [200] * 4 + [429] * 2
    cache.set("key", "value")
    assert cache.get("key") is None
