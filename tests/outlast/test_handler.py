"""The ASGI handler behind a real server: threads, streams, clients that are slow or gone."""

import asyncio
import os
import random
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from contextvars import ContextVar
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trustme
import uvicorn
from asgiref.sync import async_to_sync
from channels.routing import URLRouter
from django.contrib.auth import get_user_model
from django.core.asgi import get_asgi_application
from django.core.signals import request_finished, request_started
from django.db import connection
from django.db.backends.signals import connection_created
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path, re_path
from outlast.handler import ASGIHandler
from outlast.threads import GeneratorThreads

BIG = 8_000_000  # bytes: more than what the sockets between two processes buffer
THREADS, GENERATORS = 2, 12
gate = threading.Event()
seen: list[str] = []
number: ContextVar[str] = ContextVar("number", default="none")


def thread() -> str:
    return threading.current_thread().name.partition("-")[0]


def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"{thread()} {request.scheme} {number.get()}")


def hang(request: HttpRequest) -> HttpResponse:
    gate.wait(20)
    return HttpResponse("done")


def upload(request: HttpRequest) -> HttpResponse:
    seen.append(thread())
    return HttpResponse(str(sum(file.size or 0 for file in request.FILES.values())))


def file(request: HttpRequest) -> FileResponse:
    return FileResponse(Path(os.environ["BIG_FILE"]).open("rb"))


def rows(request: HttpRequest) -> StreamingHttpResponse:
    """Stream with a query that stays open between two chunks."""

    def make() -> Iterator[str]:
        seen.append(threading.current_thread().name)
        try:
            for user in get_user_model().objects.iterator(chunk_size=1):
                yield user.get_username() + " " * BIG
        finally:
            seen.append(threading.current_thread().name)

    return StreamingHttpResponse(make())


def blocked(request: HttpRequest) -> StreamingHttpResponse:
    """Stream a chunk, and hang in the second one."""

    def make() -> Iterator[str]:
        yield "first"
        seen.append("hangs")
        gate.wait(20)
        yield "second"

    return StreamingHttpResponse(make())


async def events(request: HttpRequest) -> StreamingHttpResponse:
    async def make() -> Any:
        try:
            for count in range(1000):
                yield f"data: {count} {thread()}\n\n"
                await asyncio.sleep(0.05)
        finally:
            seen.append("gone")

    return StreamingHttpResponse(make(), content_type="text/event-stream")


async def asynchronous(request: HttpRequest) -> HttpResponse:
    exists = await get_user_model().objects.aexists()
    return HttpResponse(f"{thread()} {exists} {number.get()}")


def bridge(request: HttpRequest) -> HttpResponse:
    async def ask() -> str:
        await asyncio.sleep(0)
        return thread()

    return HttpResponse(async_to_sync(ask)())


def fail(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("on purpose")


def fail_later(request: HttpRequest) -> StreamingHttpResponse:
    def make() -> Iterator[str]:
        yield "begun"
        raise RuntimeError("on purpose")

    return StreamingHttpResponse(make())


def count_users(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(get_user_model().objects.count()))


urlpatterns = [
    path("page/", page),
    path("readyz", page),
    path("hang/", hang),
    path("slow/login/", hang),
    path("upload/", upload),
    path("file/", file),
    path("rows/", rows),
    path("blocked/", blocked),
    path("events/", events),
    path("feed/events/", events),
    path("async/", asynchronous),
    path("bridge/", bridge),
    path("fail/", fail),
    path("fail-later/", fail_later),
    path("count/", count_users),
]


def numbering(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """A middleware that sets a context variable, as those for request ids do."""

    def middleware(request: HttpRequest) -> Any:
        token = number.set(request.headers.get("X-Number", "none"))
        if "X-Fail-Before" in request.headers:
            raise RuntimeError("on purpose")
        try:
            response = get_response(request)
            if "X-Fail-After" in request.headers:
                raise RuntimeError("on purpose")
            return response
        finally:
            number.reset(token)

    return middleware


class Server:
    """uvicorn in a thread of this process."""

    def __init__(self, application: Any, **options: Any) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.socket.getsockname()[1]
        config = uvicorn.Config(
            application,
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            **options,
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(
            target=self.server.run, args=([self.socket],), name="loop-0", daemon=True
        )
        self.thread.start()

    def stop(self) -> None:
        gate.set()
        self.server.should_exit = True
        self.thread.join(20)
        assert not self.thread.is_alive()

    def ask(self, path: str, method: str = "GET", *, timeout: float = 10, **more: Any) -> Any:
        """Return status, text and a function that returns a header."""
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=timeout)) as connection:
            connection.request(method, path, **more)
            with connection.getresponse() as response:
                text = response.read().decode()
                return SimpleNamespace(
                    status=response.status, header=response.getheader, text=text
                )

    def get(self, path: str, **more: Any) -> str:
        return self.ask(path, **more).text  # type: ignore[no-any-return]

    def raw(self, text: bytes) -> socket.socket:
        """Send bytes and leave the connection open."""
        client = socket.create_connection(("127.0.0.1", self.port), 10)
        client.sendall(text)
        return client


@contextmanager
def serving(
    settings: Any,
    application: Callable[[ASGIHandler], Any] = lambda handler: handler,
    **options: Any,
) -> Iterator[Server]:
    gate.clear()
    seen.clear()
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = [f"{__name__}.numbering", *settings.MIDDLEWARE]
    settings.OUTLAST = {"PAGE_THREADS": THREADS, "PAGE_QUEUED_PATHS": ("/slow/",)}
    handler = ASGIHandler()
    handler.generators = GeneratorThreads(GENERATORS)
    server = Server(application(handler), **options)
    try:
        yield server
    finally:
        server.stop()
        handler.pages.shutdown()
        handler.probes.shutdown()
        wait_until(lambda: not ours(), "the end of the threads")


@pytest.fixture
def server(settings: Any, transactional_db: None) -> Iterator[Server]:
    with serving(settings) as server:
        yield server


@pytest.fixture(autouse=True)
def big_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "big").write_bytes(b"x" * BIG)
    monkeypatch.setenv("BIG_FILE", str(tmp_path / "big"))


def wait_until(is_true: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + 10
    while not is_true():
        assert time.monotonic() < deadline, f"waited 10 s for {what}"
        time.sleep(0.02)


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def ours() -> list[str]:
    """Return the names of the threads that serve requests."""
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith(("page-", "stream-", "probe-"))]


def test_pages_come_from_as_many_threads_as_are_set(server: Server) -> None:
    with ThreadPoolExecutor(20) as crowd:
        texts = list(crowd.map(lambda _: server.get("/page/"), range(40)))
    assert set(texts) == {"page http none"}
    assert len([name for name in ours() if name.startswith("page-")]) <= THREADS


def test_connections_are_kept(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    def count(**kwargs: Any) -> None:
        made.append(threading.current_thread().name)

    monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", None)
    connection_created.connect(count)
    try:
        with ThreadPoolExecutor(10) as crowd:
            assert set(crowd.map(lambda _: server.get("/count/"), range(40))) == {"0"}
        assert 1 <= len(made) <= THREADS
    finally:
        connection_created.disconnect(count)


def test_slow_clients_hold_no_thread(server: Server) -> None:
    head = b"POST /upload/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nhalf of it"
    many = 3 * THREADS
    get_user_model().objects.create_user("ada")
    clients = [server.raw(head) for _ in range(many)]
    clients += [server.raw(get(f"/{name}/")) for name in ("file", "rows") for _ in range(many)]
    wait_until(lambda: len(seen) == many, "the streams")
    started = time.monotonic()
    assert [server.get("/page/") for _ in range(20)] == ["page http none"] * 20
    assert time.monotonic() - started < 10
    for client in clients:
        client.close()
    wait_until(lambda: not [name for name in ours() if name.startswith("stream-")], "their end")
    assert not [name for name in seen if not name.startswith("stream-")]


def test_a_stream_keeps_one_thread_and_its_query(server: Server) -> None:
    names = ["ada", "grace", "linus"]
    for name in names:
        get_user_model().objects.create_user(name)
    closed: list[Any] = []

    def finished(**kwargs: Any) -> None:
        closed.append(threading.current_thread().name)

    request_finished.connect(finished)
    try:
        assert server.get("/rows/").split() == names
    finally:
        request_finished.disconnect(finished)
    assert len({*seen, *closed}) == 1, "it was in more than one thread"


def test_a_request_ends_with_its_client_although_its_generator_hangs(server: Server) -> None:
    clients = [server.raw(get("/blocked/")) for _ in range(GENERATORS)]
    wait_until(lambda: len(seen) == GENERATORS, "the first chunks")
    for client in clients:
        client.close()
    wait_until(lambda: not server.server.server_state.tasks, "the end of the requests")
    with server.raw(get("/blocked/")) as waiting:  # since so many threads hang
        assert server.get("/page/") == "page http none"
        assert len(seen) == GENERATORS
        gate.set()
        assert b"200 OK" in waiting.recv(5000)
    wait_until(lambda: not [n for n in ours() if n.startswith("stream-")], "the streams")


def test_files_and_bodies_arrive_whole(server: Server) -> None:
    assert server.get("/file/") == "x" * BIG
    part = b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'
    body = part + b"y" * BIG + b"\r\n--b--\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    assert server.ask("/upload/", "POST", body=body, headers=kind).status == 403, "no CSRF token"


def test_server_sent_events_hold_no_thread_and_end_with_their_client(server: Server) -> None:
    clients = [server.raw(get("/events/")) for _ in range(3 * THREADS)]
    for client in clients:
        text = b""
        while b"data: 2 loop" not in text:
            text += client.recv(1000)
    assert server.get("/page/") == "page http none"
    for client in clients:
        client.close()
    wait_until(lambda: seen.count("gone") == len(clients), "the end of the events")


def test_asynchronous_code_runs_on_the_loop_with_the_context_of_the_request(
    server: Server,
) -> None:
    assert server.get("/async/", headers={"X-Number": "7"}) == "loop False 7"
    assert server.get("/bridge/") == "loop"


def test_one_line_gives_a_prefix_to_djangos_own_handler(
    settings: Any, transactional_db: None
) -> None:
    def application(handler: ASGIHandler) -> Any:
        return URLRouter([re_path("^feed/", get_asgi_application()), re_path("", handler)])

    settings.MIDDLEWARE = settings.MIDDLEWARE[:1]
    with serving(settings, application) as server:
        held = [server.raw(get("/hang/")) for _ in range(THREADS)]
        wait_until(lambda: len(ours()) == THREADS, "the threads")
        client = server.raw(get("/feed/events/"))
        assert b"200 OK" in client.recv(1000), "it waits for a page thread"
        for one in [client, *held]:
            one.close()


def test_signals_come_in_the_thread_of_the_page(server: Server) -> None:
    threads: list[Any] = []

    def note(**kwargs: Any) -> None:
        threads.append(threading.current_thread().name)

    request_started.connect(note)
    request_finished.connect(note)
    try:
        server.get("/page/")
    finally:
        request_started.disconnect(note)
        request_finished.disconnect(note)
    assert len(threads) == 2
    assert threads[0] == threads[1]
    assert threads[0].startswith("page-")


def test_health_answers_while_every_thread_hangs(server: Server, settings: Any) -> None:
    held = [server.raw(get("/hang/")) for _ in range(2 * THREADS)]
    wait_until(lambda: len(ours()) == THREADS, "the threads")
    answer = server.ask("/healthz", timeout=5)
    assert (answer.status, answer.header("Cache-Control")) == (200, "no-store")
    assert server.get("/readyz") == "probe http none"
    with pytest.raises(TimeoutError):
        server.get("/page/", timeout=0.5)
    gate.set()
    assert server.get("/page/") == "page http none"
    for client in held:
        client.close()


def test_posts_that_wait_for_a_processor_leave_half_of_the_threads(server: Server) -> None:
    post = b"POST /slow/login/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
    token = b"Cookie: csrftoken=" + b"a" * 32 + b"\r\nX-CSRFToken: " + b"a" * 32 + b"\r\n\r\n"
    held = [server.raw(post[:-2] + token) for _ in range(5 * THREADS)]
    wait_until(lambda: len(ours()) == THREADS // 2, "the first of them")
    assert server.get("/page/") == "page http none"
    gate.set()
    for client in held:
        assert b"200 OK" in client.recv(1000)
        client.close()


def test_names_with_underscores_are_not_those_with_hyphens(server: Server, settings: Any) -> None:
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    assert server.get("/page/", headers={"X-Forwarded-Proto": "https"}).split()[1] == "https"
    for name in ("X_Forwarded_Proto", "X-Forwarded_Proto", "x_forwarded_proto"):
        assert server.get("/page/", headers={name: "https"}).split()[1] == "http"
    assert server.get("/page/", headers={"X_Number": "7"}).split()[2] == "none"


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

    def ask(index: int) -> bytes:
        try:
            with raw(odd[index % len(odd)]) as client:
                client.settimeout(0.05)
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
settings.ROOT_URLCONF = "test_handler"
settings.MIDDLEWARE = []
import test_handler, uvicorn
from outlast.handler import ASGIHandler
if {seconds}:
    threading.Timer({seconds}, test_handler.gate.set).start()
uvicorn.run(ASGIHandler(), port={port}, lifespan="off", timeout_graceful_shutdown=1)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM")
@pytest.mark.parametrize("seconds", [0.7, 0])
def test_a_stop_waits_for_requests_in_flight_but_not_for_ever(seconds: float) -> None:
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
        process.terminate()
        with client:
            answered = b"200 OK" in client.recv(1000)
        assert answered is bool(seconds)
        process.wait(10)
    finally:
        process.kill()
        process.wait()
