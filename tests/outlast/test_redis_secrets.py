"""Passwords of Redis: in no log, page, mail, traceback, `repr` or answer of the doctor."""

import logging
import sys
import traceback
from collections.abc import Callable
from io import StringIO
from typing import Any
from urllib.parse import quote

import pytest
from caches import forget_clients, serving
from django.core.cache import caches
from django.core.management import call_command
from django.test import RequestFactory
from django.utils.log import AdminEmailHandler
from django.views.debug import technical_500_response
from outlast.addresses import read_address, split_secrets
from outlast.cache import Unavailable
from outlast.redis import get_client

from tests.servers import Topology

PASSWORDS = ["pl4in-s3cret", "p@ss#w/rd?s3cret", "s3cret'\"<&>%41\\{}$", "s3crèt ☃ s3cret"]


@pytest.fixture(params=PASSWORDS)
def password(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def failure_of(cache: Any) -> BaseException:
    """Return what `strict` raises, with a traceback that does not begin in the test."""
    try:
        cache.strict.get("k")
    except Unavailable as error:
        return error
    raise AssertionError("Redis can be used")


def say_everything(error: BaseException, settings: Any, mail: list[Any]) -> str:
    """Return what pages, mails, logs and consoles say of an error, with local variables."""
    settings.DEBUG = True
    kind = type(error), error, error.__traceback__
    request = RequestFactory().get("/")
    settings.ADMINS = ["ada@example.com"] if sys.version_info >= (3, 12) else [("Ada", "a@b.c")]
    record = logging.LogRecord("django.request", logging.ERROR, "", 1, "failed", (), kind)
    AdminEmailHandler(include_html=True).emit(record)
    (sent,) = mail
    html = sent.alternatives[0][0]
    page = technical_500_response(request, *kind).content.decode()
    text = technical_500_response(
        RequestFactory().get("/", headers={"accept": "text/plain"}), *kind
    ).content.decode()
    console = "".join(traceback.TracebackException(*kind, capture_locals=True).format())
    return "\n".join([page, text, sent.body, html, console])


def assert_not_in(password: str, said: str) -> None:
    assert said
    for part in (password, quote(password, safe=""), "s3cret", "s3cr"):
        where = said.find(part)
        assert where < 0, said[max(0, where - 300) : where + 100]


def old_server(connection: Any) -> None:
    """Repeat the login in the error, as servers before 6.0 do."""
    while command := connection.recv(65536):
        words = b" ".join(part for part in command.split(b"\r\n") if part[:1] not in b"*$")
        connection.sendall(b"-ERR unknown command with args beginning with: " + words + b"\r\n")


FAULTS: dict[str, Callable[[Topology], object]] = {
    "refused": lambda server: server.primary.kill(),
    "hung": lambda server: server.primary.pause(),
    "password": lambda server: server.primary.client().config_set("requirepass", "other"),
}


@pytest.mark.parametrize("fault", [*FAULTS, "old"])
def test_a_password_is_shown_nowhere(
    password: str, fault: str, settings: Any, mailoutbox: list[Any], caplog: Any, capsys: Any
) -> None:
    forget_clients()
    with Topology(password="other") as server, serving(old_server) as old:
        port = old if fault == "old" else server.primary.port
        location, options = split_secrets(
            f"redis://:{quote(password, safe='')}@127.0.0.1:{port}/0"
        )
        settings.CACHES = {
            "default": {
                "BACKEND": "outlast.cache.RedisCache",
                "LOCATION": location,
                "OPTIONS": options,
            }
        }
        settings.CHANNEL_LAYERS = {
            "default": {
                "BACKEND": "outlast.channels.redis.PubSubLayer",
                "CONFIG": {"hosts": [{"address": location, **options}], "prefix": "x"},
            }
        }
        if fault in FAULTS and fault != "password":
            FAULTS[fault](server)
        cache: Any = caches["default"]
        said = say_everything(failure_of(cache), settings, mailoutbox)
        assert "cannot be used" in said
        assert cache.get("k") is None
        out = StringIO()
        with pytest.raises(SystemExit):
            call_command("doctor", stdout=out, stderr=out, no_color=True)
        client = get_client(read_address(location, options), "canary")
        shown = map(repr, (client, client.connection_pool, client.breaker.address, cache))
        printed = capsys.readouterr()
        everything = [said, out.getvalue(), caplog.text, *printed, *shown]
        assert_not_in(password, "\n".join(everything))
