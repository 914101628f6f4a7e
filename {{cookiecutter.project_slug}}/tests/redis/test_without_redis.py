"""Login, logout and guesses do not need Redis; views that need it answer 503."""

import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import caches
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path
from outlast.environment import Env

from accounts.models import User
from config import profiles, urls
from tests.conftest import Browser, is_logged_in, key_of, post_login, with_key

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls(__name__)]


def strict(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(caches["default"].strict.get("counter")))


def broken(request: HttpRequest) -> HttpResponse:
    raise ZeroDivisionError


urlpatterns = [path("strict/", strict), path("broken/", broken), *urls.urlpatterns]
handler500 = urls.handler500


@pytest.fixture(params=["refused", "silent"])
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    """A port that refuses connections, or accepts them and does not answer."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        if request.param == "silent":
            reserved.listen(100)
        yield reserved.getsockname()[1]


@pytest.fixture(autouse=True)
def _profile(port: int, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the profile use the port."""
    monkeypatch.setenv("REDIS_URL", f"redis://:s3cret@127.0.0.1:{port}/0")
    monkeypatch.setenv("REDIS_SENTINELS", f"127.0.0.1:{port}")
    monkeypatch.setenv("REDIS_CLUSTER", f"127.0.0.1:{port}")
    profile = profiles.load(settings.PROFILE, Env(), settings.VAR, "site")  # type: ignore[no-untyped-call]
    settings.CACHES = {"default": profile.cache}
    settings.CHANNEL_LAYERS = {"default": profile.channel_layer}


@pytest.fixture
def dialled(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The ports to which code connects."""
    ports, connect = set(), socket.socket.connect

    def spy(self: socket.socket, address: Any) -> None:
        ports.add(address[1])
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", spy)
    return ports


def test_users_log_in_and_out(user: User, https: Client, port: int, dialled: set[int]) -> None:
    began, other = time.monotonic(), Browser()
    for browser in (https, other):
        assert post_login(browser)["Location"] == "/dashboard/"
        assert is_logged_in(browser)
    https.post("/accounts/sessions/end-others/")
    assert not is_logged_in(other)
    key = key_of(https)
    assert https.post("/accounts/logout/").status_code == 302
    assert not is_logged_in(with_key(https, key))
    assert [post_login(https, password="x").status_code for _ in range(5)] == [200] * 4 + [429]
    assert dialled == {port}, "Redis was not asked, or something else was"
    assert time.monotonic() - began < 5  # seconds; usually 0.1, or 0.3 if it is silent


def test_production_answers_503_and_debug_says_what_to_do(
    request: pytest.FixtureRequest, port: int, https: Client, settings: Any
) -> None:
    https.raise_request_exception = False
    answer = https.get("/strict/")
    assert answer.status_code == 503 and 1 <= int(answer["Retry-After"]) <= 60
    assert b"Traceback" not in answer.content and b"127.0.0.1" not in answer.content
    settings.DEBUG = True
    text = https.get("/strict/", headers={"accept": "text/html"}).content.decode()
    if settings.PROFILE == "redis-sentinel":
        expected = ["<h1>No Sentinel names a primary.</h1>", "<li>Run python manage.py doctor"]
    elif request.node.callspec.params["port"] == "silent":
        expected = [f"127.0.0.1:{port} accepts the connection but does not answer: it hangs"]
    else:
        expected = [f"<h1>Nothing listens at 127.0.0.1:{port}: ", "DJANGO_PROFILE=database"]
        expected += ["<li>In a second terminal: python manage.py devredis</li>"]
    assert all(words in text for words in expected) and "s3cret" not in text
    settings.CHANNEL_LAYERS = {"default": {"CONFIG": {"hosts": ["rediss://u:s3cret@h:1/0"]}}}
    text = https.get("/broken/", headers={"accept": "text/html"}).content.decode()
    expected = ["ZeroDivisionError", "Request information", "rediss://u:*****"]
    assert all(words in text for words in expected) and "s3cret" not in text
