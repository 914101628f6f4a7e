"""Accounts while Redis is stopped, or hangs: logins, the throttle, the end of sessions."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.cache import caches
from django.test import Client
from outlast.cache import Unavailable
from outlast.servers import Server, Topology

from accounts.models import User
from tests.conftest import PASSWORD

LOGIN = "/accounts/login/"


@pytest.fixture(params=["stopped", "hung"])
def redis_is_away(request: pytest.FixtureRequest, settings: Any) -> Iterator[Server]:
    with Topology() as topology:
        settings.CACHES = {
            "default": settings.CACHES["default"]
            | {"LOCATION": topology.environment()["REDIS_URL"], "OPTIONS": {}}
        }
        topology.primary.kill() if request.param == "stopped" else topology.primary.pause()
        with pytest.raises(Unavailable):
            caches["default"].strict.get("anything")
        yield topology.primary
        if request.param == "hung":
            topology.primary.resume()


def log_in(browser: Client, password: str) -> int:
    form = {"username": "ada@example.com", "password": password}
    return browser.post(LOGIN, form).status_code


def test_guessers_wait_all_the_same(
    redis_is_away: Server, user: User, new_browser: Callable[[], Client], settings: Any
) -> None:
    assert log_in(new_browser(), PASSWORD) == 302
    for _ in range(settings.THROTTLE_PAIR_LIMIT - 1):
        assert log_in(new_browser(), "wrong") == 200
    assert log_in(new_browser(), "wrong") == 429
    assert log_in(new_browser(), PASSWORD) == 429


def test_sessions_end_all_the_same(
    redis_is_away: Server, user: User, new_browser: Callable[[], Client]
) -> None:
    here, there, third = new_browser(), new_browser(), new_browser()
    for browser in (here, there, third):
        assert log_in(browser, PASSWORD) == 302
        assert browser.get("/dashboard/").status_code == 200
    here.post("/accounts/sessions/end-others/")
    assert here.get("/dashboard/").status_code == 200
    assert {page.get("/dashboard/").status_code for page in (there, third)} == {302}
