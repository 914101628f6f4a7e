"""Lines of a site's log without a request."""

import json
import logging
import sys
from typing import Any

from proof.conftest import module

logs: Any = module("config.logs")


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
