"""Lines of a log, and the ID that a request gets."""

import json
import logging
import sys
from types import SimpleNamespace

import pytest
from outlast import logs


def test_an_exception_is_one_line() -> None:
    try:
        raise ZeroDivisionError("of all things\n\u2028")
    except ZeroDivisionError:
        record = logging.LogRecord("x", logging.ERROR, "", 1, "It failed.", (), sys.exc_info())
    (text,) = logs.JSONFormatter().format(record).splitlines()
    line = json.loads(text)
    assert line["exception"].startswith("Traceback")
    assert line["exception"].endswith("ZeroDivisionError: of all things\n\u2028")
    assert (line["level"], line["message"]) == ("error", "It failed.")
    assert "request_id" not in line


def test_a_message_has_a_limit() -> None:
    record = logging.LogRecord("x", logging.INFO, "", 1, "x" * 9999, (), None)
    assert len(json.loads(logs.JSONFormatter().format(record))["message"]) == 1000


class Response(dict[str, str]):
    status_code = 200


@pytest.mark.parametrize(
    ("given", "port", "kept"),
    [
        ("abc-123_DEF.4", 0, True),
        ("abc-123_DEF.4", 50000, False),  # a client without a proxy
        ('a"b{}\nc' * 3, 0, False),
        ("x" * 7, 0, False),
        ("x" * 8, 0, True),
        ("x" * 64, 0, True),
        ("x" * 65, 0, False),
    ],
)
def test_the_id_of_a_trusted_proxy_is_kept(given: str, port: int, kept: bool) -> None:
    request = SimpleNamespace(
        META={"REMOTE_PORT": port}, headers={"X-Request-ID": given}, path="/", method="GET",
        resolver_match=None,
    )  # fmt: skip
    response = logs.log_requests(lambda request: Response())(request)
    assert (response["X-Request-ID"] == given) is kept
    assert not logs.request_id.get(), "it leaks into what comes after"
