"""Run pages in a fixed pool of threads, which keep their connections with `CONN_MAX_AGE`."""

import asyncio
from contextlib import nullcontext, suppress
from typing import Any

from django.core.exceptions import RequestAborted
from django.core.handlers import asgi
from django.core.signals import request_started
from django.http import FileResponse
from django.urls import set_script_prefix

from outlast import health, requests
from outlast.conf import conf
from outlast.threads import GeneratorThreads, Threads


class ASGIHandler(asgi.ASGIHandler):
    """Django's handler, but one thread of a pool runs a request from its start to its end."""

    request_class = requests.ASGIRequest

    def __init__(self) -> None:
        super().__init__()
        self.pages = Threads(conf.PAGE_THREADS, "page")
        self.probes = Threads(2, "probe")  # /readyz answers while all page threads hang
        self.queue = asyncio.Semaphore(max(1, conf.PAGE_THREADS // 2))
        self.generators = GeneratorThreads(64)

    def load_middleware(self, is_async: bool = False) -> None:
        super().load_middleware(is_async=False)

    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        if (path := scope["path"]) == "/healthz":
            return await self.send_response(health.alive(), send)
        try:
            body = await self.read_body(receive)
        except RequestAborted:
            return None
        threads = self.probes if path in ("/readyz", "/metrics") else self.pages
        is_queued = scope["method"] == "POST" and path.startswith(conf.PAGE_QUEUED_PATHS)
        async with self.queue if is_queued else nullcontext():
            response = await threads.run(self.respond, scope, body)
        if response.streaming:
            return await self.stream(response, receive, send)
        return await self.send_response(response, send)

    def respond(self, scope: Any, body: Any) -> Any:
        """Return the response to a request, closed unless it is a stream."""
        set_script_prefix(asgi.get_script_prefix(scope))
        request_started.send(sender=self.__class__, scope=scope)
        request, error = self.create_request(scope, body)
        response: Any = self.get_response(request) if request else error
        response._resource_closers.append(body.close)
        response._handler_class = self.__class__
        response.block_size = self.chunk_size  # of files
        if not response.streaming:
            response.close()
        return response

    async def stream(self, response: Any, receive: Any, send: Any) -> None:
        """Send a stream until it ends or its client disconnects, then close it."""
        is_generator = not (response.is_async or isinstance(response, FileResponse))
        threads = await self.generators.get() if is_generator else self.pages
        if not response.is_async:
            response.streaming_content = threads.iterate(response.streaming_content)
        sending = asyncio.create_task(self.send_response(response, send))
        gone = asyncio.create_task(self.listen_for_disconnect(receive))
        gone.add_done_callback(lambda task: task.cancelled() or sending.cancel(task.exception()))
        try:
            with suppress(asyncio.CancelledError):
                await sending
        finally:
            gone.cancel()
            if is_generator:
                self.generators.close(threads, response.close)
            else:
                await threads.run(response.close)
