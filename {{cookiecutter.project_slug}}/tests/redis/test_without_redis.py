"""Login, logout and guesses do not need Redis; views that need it answer 503."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import caches
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path

from accounts.models import User
from config import profiles, urls
from config.environment import Env
from tests.conftest import Browser, is_logged_in, key_of, post_login, with_key

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls(__name__)]


def strict(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(caches["default"].strict.get("counter")))


urlpatterns = [path("strict/", strict), *urls.urlpatterns]
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


def test_users_log_in_and_out(user: User, https: Client) -> None:
    other = Browser()
    for browser in (https, other):
        assert post_login(browser)["Location"] == "/dashboard/"
        assert is_logged_in(browser)
    https.post("/accounts/sessions/end-others/")
    assert not is_logged_in(other)
    key = key_of(https)
    assert https.post("/accounts/logout/").status_code == 302
    assert not is_logged_in(with_key(https, key))
    assert [post_login(https, password="x").status_code for _ in range(5)] == [200] * 4 + [429]


def test_production_answers_503_and_debug_says_what_to_do(https: Client, settings: Any) -> None:
    https.raise_request_exception = False
    answer = https.get("/strict/")
    assert answer.status_code == 503 and 1 <= int(answer["Retry-After"]) <= 60
    assert b"Traceback" not in answer.content and b"127.0.0.1" not in answer.content
    settings.DEBUG = True
    text = https.get("/strict/", headers={"accept": "text/html"}).content.decode()
    assert "<h1>" in text and "s3cret" not in text
