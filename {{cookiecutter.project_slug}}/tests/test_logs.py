"""Logs in production: JSON lines with the ID of the request, and without tokens."""

import json
import logging
from io import StringIO
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path
from outlast import logs

from config.urls import handler500
from config.urls import urlpatterns as pages

__all__ = ["handler500"]
TOKEN = "c9abcd-0123456789abcdef0123456789abcdef"


def chatty(request: HttpRequest, token: str) -> HttpResponse:
    logging.getLogger("outlast.redis").warning("Redis is lost:\n%s", "\u2028again")
    return HttpResponse("said")


urlpatterns = [path("chatty/<str:token>/", chatty), *pages]


@pytest.fixture
def lines(settings: Any) -> Any:
    """A function that returns the lines of the log, as objects."""
    settings.ROOT_URLCONF = __name__
    handler = logging.StreamHandler(StringIO())
    handler.setFormatter(logs.JSONFormatter())
    root, level = logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel(logs.CONFIG["root"]["level"])
    yield lambda: [json.loads(line) for line in handler.stream.getvalue().splitlines()]
    root.removeHandler(handler)
    root.setLevel(level)


def test_all_lines_of_a_request_have_its_id(lines: Any, https: Client) -> None:
    answer = https.get("/chatty/s3cret-token/")
    said, done = lines()
    assert said["request_id"] == done["request_id"] == answer["X-Request-ID"]
    assert (said["level"], said["message"]) == ("warning", "Redis is lost:\n\u2028again")
    assert done["message"] == "GET /chatty/<str:token>/ 200"
    assert done["status"] == 200 and done["milliseconds"] >= 0
    assert https.get("/chatty/x/")["X-Request-ID"] != answer["X-Request-ID"]
    assert "s3cret-token" not in str(lines())


@pytest.mark.parametrize(
    ("address", "status", "words"),
    [
        (f"/accounts/password/reset/Mg/{TOKEN}/extra", 404, "reset/Mg/[hidden]/extra"),
        (f"/accounts/password/reset/Mg/{TOKEN}/", 403, "reset/<uidb64>/<token>/"),  # no CSRF token
    ],
)
@pytest.mark.django_db
def test_no_line_contains_a_token(
    address: str, status: int, words: str, lines: Any, https: Client
) -> None:
    https.handler.enforce_csrf_checks = True
    answer = https.post(address)
    assert answer.status_code == status
    assert {line["logger"].partition(".")[0] for line in lines()} == {"django", "site"}
    for line in lines():
        assert words in line["message"] and TOKEN not in str(line)
        assert line["request_id"] == answer["X-Request-ID"]


def test_refused_requests_have_no_traceback(lines: Any, https: Client) -> None:
    https.generic("POST", "/accounts/login/", b"--b", "multipart/form-data; charset=hex")
    assert lines() and not any("exception" in line for line in lines())
