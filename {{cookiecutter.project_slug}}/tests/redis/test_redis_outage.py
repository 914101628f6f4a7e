"""A view that must know what Redis says, and Redis is stopped."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import caches
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path
from outlast.servers import Server, Topology
from redis import Redis

from config.urls import handler500
from config.urls import urlpatterns as pages

__all__ = ["handler500"]


def strict(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(caches["default"].strict.get("counter")))


def raw(request: HttpRequest) -> HttpResponse:
    with Redis.from_url(caches["default"]._servers[0], socket_timeout=0.2) as client:
        return HttpResponse(client.get("counter"))


def broken(request: HttpRequest) -> HttpResponse:
    raise ZeroDivisionError


urlpatterns = [
    path("strict/", strict),
    path("raw/", raw),
    path("broken/", broken),
    *pages,
]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Topology() as topology:
        topology.primary.kill()
        yield topology.primary


@pytest.fixture
def browser(server: Server, settings: Any, https: Client) -> Client:
    settings.ROOT_URLCONF = __name__
    settings.CACHES = {
        "default": settings.CACHES["default"]
        | {"LOCATION": f"redis://:s3cret@127.0.0.1:{server.port}/0", "OPTIONS": {}}
    }
    https.raise_request_exception = False
    return https


@pytest.mark.parametrize("page", ["/strict/", "/raw/"])
def test_production_says_when_to_come_back_and_debug_how_to_mend_it(
    page: str, browser: Client, server: Server, settings: Any
) -> None:
    for _ in range(2):  # with the error itself, and with the breaker's word for it
        answer = browser.get(page)
        assert answer.status_code == 503 and 1 <= int(answer["Retry-After"]) <= 60
        assert b"Traceback" not in answer.content and b"127.0.0.1" not in answer.content
    settings.DEBUG = True
    for _ in range(2):
        text = browser.get(page, headers={"accept": "text/html"}).content.decode()
        assert f"<h1>Nothing listens at 127.0.0.1:{server.port}: Redis is not running" in text
        assert "<li>In a second terminal: python manage.py devredis</li>" in text
        assert "DJANGO_PROFILE=database" in text and "s3cret" not in text


def test_no_report_of_an_error_shows_the_password(browser: Client, settings: Any) -> None:
    """The location of the cache is among the settings that Django's reports list."""
    settings.DEBUG = True
    settings.CHANNEL_LAYERS = {"default": {"CONFIG": {"hosts": ["rediss://u:s3cret@h:1/0"]}}}
    page = browser.get("/broken/", headers={"accept": "text/html"}).content.decode()
    assert "ZeroDivisionError" in page and "redis://:*****" in page
    assert "s3cret" not in page


def test_debug_keeps_the_page_of_other_errors(browser: Client, settings: Any) -> None:
    settings.DEBUG = True
    assert b"No Page matches" not in browser.get("/nowhere/").content
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
    page = browser.get("/strict/", headers={"accept": "text/html"})
    assert page.status_code == 500
    assert b"AttributeError" in page.content and b"Request information" in page.content
