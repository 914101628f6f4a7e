"""Exceptions, odd requests and the end of the server below the ASGI handler."""

import os
import random
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest
import trustme
from django.contrib.auth import get_user_model
from django.db import connection
from served import THREADS, Server, get, ours, serving, wait_until


@pytest.mark.parametrize("header", ["X-Fail-Before", "X-Fail-After"])
def test_exceptions_in_middleware(header: str, server: Server) -> None:
    assert server.ask("/page/", headers={header: "1"}).status == 500
    assert server.get("/page/") == "page http none"


def test_exceptions_in_views_and_streams(server: Server) -> None:
    assert server.ask("/fail/").status == 500
    with pytest.raises(HTTPException):
        server.get("/fail-later/")
    wait_until(lambda: not [n for n in ours() if n.startswith("stream-")], "the stream")
    assert server.get("/page/") == "page http none"


@pytest.mark.slow
@pytest.mark.parametrize("over", ["TCP", "TLS"])
def test_thousands_of_odd_requests_leave_nothing_behind(
    over: str, settings: Any, transactional_db: None, tmp_path: Path
) -> None:
    """Show it with counts: no 500, and as many threads and open files as before."""
    if over == "TCP":
        with serving(settings) as server:
            ask_odd_things(server, server.raw)
        return
    authority, pem = trustme.CA(), tmp_path / "server.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(pem)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)

    def raw(text: bytes) -> socket.socket:
        client = trust.wrap_socket(server.raw(b""), server_hostname="localhost")
        client.sendall(text)
        return client

    with serving(settings, ssl_keyfile=str(pem), ssl_certfile=str(pem)) as server:
        ask_odd_things(server, raw)


def ask_odd_things(server: Server, raw: Callable[[bytes], socket.socket]) -> None:
    random.seed(7)
    odd = [
        b"GET /%ff%fe/\xc3\xa9 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /page/?a=%ff&b=\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /page/%00%0a HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET //page/../..//etc HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET * HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"BREW /page/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /page/ HTTP/1.1\r\n\r\n",
        b"GET /page/ HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"GET /page/ HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /page/ HTTP/1.1\r\nHost: localhost\r\nCookie: \xff=\xfe; sessionid=\x00\r\n\r\n",
        b"GET /page/ HTTP/1.1\r\nHost: localhost\r\nX-A: " + b"a" * 70_000 + b"\r\n\r\n",
        b"POST /page/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /page/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nshort",
        b"POST /page/ HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        (
            b"POST /upload/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data\r\n"
            b"Content-Length: 3\r\n\r\nabc"
        ),
        (
            b"POST /upload/ HTTP/1.1\r\nHost: a\r\nContent-Type: text/\xff; charset=\xfe\r\n"
            b"Content-Length: 3\r\n\r\nabc"
        ),
        b"POST /upload/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000\r\n\r\n"
        + b"z" * 3_000_000,
        get("/file/"),
        get("/events/"),
        get("/rows/"),
    ]
    get_user_model().objects.create_user("ada")
    connection.close()  # SQLite keeps files of other connections open while this one is

    def ask(index: int) -> bytes:
        text = odd[index % len(odd)]
        is_whole = b"short" not in text and b"9000000" not in text
        try:
            with raw(text) as client:
                client.settimeout(10 if is_whole else 0.05)
                return b"" if random.random() < 0.5 else client.recv(100)
        except OSError:  # the server has closed it already
            return b""

    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir())) if Path("/proc").is_dir() else 0

    with ThreadPoolExecutor(8) as crowd:
        list(crowd.map(ask, range(100)))  # all threads are there
        wait_until(lambda: not [n for n in ours() if n.startswith("stream-")], "the streams")
        time.sleep(0.5)
        files, threads = open_files(), threading.active_count()
        answers = list(crowd.map(ask, range(2000)))
        wait_until(lambda: not [n for n in ours() if n.startswith("stream-")], "the streams")
    statuses = {answer.split()[1] for answer in answers if answer.startswith(b"HTTP/")}
    assert {b"200", b"400", b"404"} <= statuses
    assert not statuses & {b"500", b"502", b"503"}
    with raw(get("/page/")) as client:
        assert b"200 OK" in client.recv(100)
    wait_until(lambda: open_files() <= files, f"{files} open files, not {open_files()}")
    assert threading.active_count() <= threads
    assert len([name for name in ours() if name.startswith("page-")]) <= THREADS


STOP = """
import os, signal, sys, threading, time
sys.path[:0] = {path!r}
os.environ["DJANGO_SETTINGS_MODULE"] = "project.settings"
import django; django.setup()
from django.conf import settings
settings.ROOT_URLCONF = "served"
settings.MIDDLEWARE = []
import served, uvicorn
from outlast.handler import ASGIHandler
if {seconds}:
    threading.Timer({seconds}, served.gate.set).start()
uvicorn.run(ASGIHandler(), port={port}, lifespan="off", timeout_graceful_shutdown=1)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM")
@pytest.mark.parametrize(("seconds", "sent"), [(0.7, "SIGTERM"), (0, "SIGTERM"), (0, "SIGINT")])
def test_a_stop_waits_for_requests_in_flight_but_not_for_ever(seconds: float, sent: str) -> None:
    """The request ends after `seconds`; or it hangs and must not keep the process alive."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    code = STOP.format(path=sys.path, port=port, seconds=seconds)
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            try:
                client = socket.create_connection(("127.0.0.1", port), 10)
                break
            except OSError:
                time.sleep(0.05)
        client.sendall(get("/hang/"))
        time.sleep(0.3)
        process.send_signal(signal.Signals[sent])
        with client:
            answered = b"200 OK" in client.recv(1000)
        assert answered is bool(seconds)
        process.wait(10)
    finally:
        process.kill()
        process.wait()
