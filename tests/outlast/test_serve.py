"""The options that the server gives to uvicorn."""

import sys
from typing import Any

import pytest
import uvicorn
from outlast import serve


def test_options(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(serve, "conf", type("Conf", (), {"WEBSOCKET_MAX_BYTES": 9}))
    monkeypatch.setattr(serve.signal, "signal", lambda *_: None)
    monkeypatch.setattr(uvicorn, "run", lambda application, **options: given.update(options))
    monkeypatch.setattr(sys, "argv", ["config.serve", "--port=8001", "--workers=2"])
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "undone after the test")
    serve.serve("config.asgi:application", "config.serve")
    expected: dict[str, Any] = {
        "port": 8001,
        "workers": 2,
        "timeout_graceful_shutdown": 20,
        "http": "outlast.protocol:HTTPProtocol",
        "loop": "outlast.protocol:new_event_loop",
        "server_header": False,
        "access_log": False,
        "ws_max_size": 9,
    }
    assert expected.items() <= given.items()
