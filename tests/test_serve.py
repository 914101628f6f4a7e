"""The options that the site's server gives to uvicorn."""

import sys
from typing import Any

import pytest
import uvicorn

from proof.conftest import module


def test_options(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    serve: Any = module("config.serve")
    monkeypatch.setattr(serve, "conf", type("Conf", (), {"WEBSOCKET_MAX_BYTES": 9}))
    monkeypatch.setattr(serve.signal, "signal", lambda *_: None)
    monkeypatch.setattr(uvicorn, "run", lambda application, **options: given.update(options))
    monkeypatch.setattr(sys, "argv", ["config.serve", "--port=8001", "--workers=2"])
    for name in ("DJANGO_SETTINGS_MODULE", "PROMETHEUS_MULTIPROC_DIR"):
        monkeypatch.setenv(name, "undone after the test")
    serve.main()
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
