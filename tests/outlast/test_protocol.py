"""Connections that are too slow, or whose requests can be read in two ways."""

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trustme
import uvicorn
from outlast import protocol

Connect = Callable[..., socket.socket]
LIMIT = 2  # seconds, in which the head of a request arrives also on a busy machine
LONGER = LIMIT + 0.3
LENGTH, CHUNKED = b"Content-Length: 4\r\n", b"Transfer-Encoding: chunked\r\n"
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
UPGRADE = GET[:-2] + b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
UPGRADE += b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"


async def application(scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        await receive()
        return
    await asyncio.sleep(LONGER if scope["path"] == "/slow" else 0)
    start = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
    await send(start)
    await send({"type": "http.response.body", "body": b"ok"})


@contextmanager
def serving(folder: Path, tls: bool) -> Iterator[Connect]:
    """Yield a function that connects to a server, by default with TLS if it has that."""
    options: dict[str, Any] = {}
    if tls:
        pem = folder / "server.pem"
        trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(pem)
        options = {"ssl_certfile": pem, "ssl_keyfile": pem}
    config = uvicorn.Config(
        application, http="outlast.protocol:HTTPProtocol", lifespan="off", log_config=None,
        timeout_keep_alive=1, loop="outlast.protocol:new_event_loop", **options,
    )  # fmt: skip
    server, listening = uvicorn.Server(config), socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    while not server.started:  # with the limit of this moment for handshakes
        time.sleep(0.01)

    def connect(tls: bool = tls) -> socket.socket:
        plain = socket.create_connection(listening.getsockname(), timeout=20)
        if not tls:
            return plain
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context.wrap_socket(plain)

    yield connect
    server.should_exit = True
    thread.join(10)


@pytest.fixture(params=["http", pytest.param("https", marks=pytest.mark.slow)])
def connect(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Connect]:
    with serving(tmp_path, request.param == "https") as connect:
        yield connect


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """A function that sets the limit of what is read from now on."""
    return partial(monkeypatch.setattr, protocol, "SECONDS")


def answer(connection: socket.socket) -> bytes:
    """Return all that the server sends, up to the end of the application's page."""
    received = b""
    while not received.endswith(b"ok") and (part := connection.recv(1000)):
        received += part
    return received


def ends(connection: socket.socket) -> bool:
    """Whether the server closes the connection before the client gives up waiting."""
    try:
        return connection.recv(1) == b""
    except (ConnectionError, ssl.SSLEOFError):
        return True


@pytest.mark.parametrize("head", [b"", b"GET", GET[:-2], b"\r\n"])
def test_a_head_that_takes_too_long(connect: Connect, limit: Any, head: bytes) -> None:
    limit(0.5)
    with connect() as connection:
        connection.sendall(head)
        assert ends(connection)
    limit(20)
    with connect() as connection:
        connection.sendall(GET)
        assert answer(connection).startswith(b"HTTP/1.1 200")
        limit(0.5)  # for the second request of a connection
        connection.sendall(head or b"G")
        assert ends(connection)


@pytest.mark.slow
def test_a_handshake_that_takes_too_long(limit: Any, tmp_path: Path) -> None:
    limit(0.5)
    with serving(tmp_path, tls=True) as connect, connect(tls=False) as connection:
        assert ends(connection)


def test_a_body_has_no_time_limit(connect: Connect, limit: Any) -> None:
    limit(LIMIT)
    with connect() as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\n" + LENGTH + b"\r\nab")
        time.sleep(LONGER)
        connection.sendall(b"cd")
        assert answer(connection).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("headers", [LENGTH, CHUNKED, b"X: " + b"y" * 9000, b"X: y\r\n" * 200])
def test_a_websocket_handshake_that_cannot_be_read(connect: Connect, headers: bytes) -> None:
    with connect() as connection:
        connection.sendall(UPGRADE + headers + b"\r\n\r\n")
        assert answer(connection).startswith(b"HTTP/1.1 400")


def test_a_websocket_has_no_time_limit(connect: Connect, limit: Any) -> None:
    limit(LIMIT)
    with connect() as connection:
        connection.sendall(UPGRADE + b"\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 101")
        connection.settimeout(LONGER)
        with pytest.raises(TimeoutError):
            connection.recv(1)


def test_a_response_has_no_time_limit_while_the_next_request_waits(
    connect: Connect, limit: Any
) -> None:
    limit(LIMIT)
    with connect() as connection:
        connection.sendall(GET.replace(b"/ ", b"/slow ") + b"GET / HT")
        assert answer(connection).startswith(b"HTTP/1.1 200")
        assert ends(connection)


@pytest.mark.parametrize("headers", [LENGTH + CHUNKED, CHUNKED + LENGTH])
def test_two_lengths_are_refused(connect: Connect, headers: bytes) -> None:
    with connect() as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n0\r\n\r\n")
        assert answer(connection).startswith(b"HTTP/1.1 400")
