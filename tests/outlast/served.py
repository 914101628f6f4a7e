"""Views of all kinds, and a real server for them, for the tests of the ASGI handler."""

import asyncio
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from contextvars import ContextVar
from http.client import HTTPConnection
from types import SimpleNamespace
from typing import Any

import uvicorn
from asgiref.sync import async_to_sync
from django.contrib.auth import get_user_model
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path
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
    seen.append(request.path)
    gate.wait(20)
    return HttpResponse("done")


def upload(request: HttpRequest) -> HttpResponse:
    seen.append(thread())
    return HttpResponse(str(sum(file.size or 0 for file in request.FILES.values())))


def file(request: HttpRequest) -> FileResponse:
    file = tempfile.TemporaryFile()  # noqa: SIM115, the response closes it
    file.truncate(BIG)
    return FileResponse(file)


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
    path("metrics", hang),
    path("hang/", hang),
    path("slow/page/", page),
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
    threads: int = THREADS,
    **options: Any,
) -> Iterator[Server]:
    """Serve the views above in page threads; `options` are for uvicorn."""
    gate.clear()
    seen.clear()
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = [f"{__name__}.numbering", *settings.MIDDLEWARE]
    settings.OUTLAST = {"PAGE_THREADS": threads, "PAGE_QUEUED_PATHS": ("/slow/",)}
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
