"""Time limits of connections that uvicorn does not have.

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

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._wait()  # between two requests uvicorn's own limit counts

    def on_headers_complete(self) -> None:
        self._stop()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

    def _wait(self) -> None:
        if self._waiting is None:
            self._waiting = self.loop.call_later(SECONDS, self._expire)

    def _expire(self) -> None:
        self._waiting = None
        if self.cycle and not self.cycle.response_complete:
            self._wait()  # uvicorn reads the next head only after this response
        else:
            self.transport.abort()

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
