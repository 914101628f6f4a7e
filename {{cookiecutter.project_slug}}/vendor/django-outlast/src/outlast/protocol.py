"""Time limits for slow connections, which uvicorn does not have.

`uvicorn.run(..., http="outlast.protocol:HTTPProtocol", loop="outlast.protocol:new_event_loop")`.
httptools refuses requests with both Content-Length and Transfer-Encoding; h11 accepts them.
"""

import asyncio
import multiprocessing
from typing import Any

from uvicorn.loops.auto import auto_loop_factory
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

SECONDS = 15.0  # for a TLS handshake, and for the head of a request


class HTTPProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which closes a connection whose next request head takes too long."""

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # uvicorn's own limit, between two requests, ends with any data, such as an empty line.
        is_websocket = self not in self.connections
        is_busy = self.cycle and not self.cycle.response_complete
        if not (self._waiting or is_busy or is_websocket):
            self._wait()

    def on_headers_complete(self) -> None:
        self._stop()
        super().on_headers_complete()

    def handle_websocket_upgrade(self) -> None:
        super().handle_websocket_upgrade()
        conn = getattr(self.transport.get_protocol(), "conn", None)
        # websockets refuses some heads, such as those of requests with a body or long headers, and
        # uvicorn 0.54 then neither responds nor closes.
        if getattr(conn, "handshake_exc", None) and not self.transport.is_closing():
            self.send_400_response("Invalid WebSocket handshake.")

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._waiting = self.loop.call_later(SECONDS, self.transport.abort)

    def _stop(self) -> None:
        if self._waiting:
            self._waiting.cancel()
            self._waiting = None


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return uvicorn's event loop, with a time limit for TLS handshakes."""
    is_worker = multiprocessing.parent_process() is not None
    loop = auto_loop_factory(use_subprocess=is_worker)()
    create_server = loop.create_server

    async def create(*args: Any, **options: Any) -> Any:
        if options.get("ssl"):
            options["ssl_handshake_timeout"] = SECONDS
        return await create_server(*args, **options)

    setattr(loop, "create_server", create)  # noqa: B010  # mypy refuses the assignment
    return loop
