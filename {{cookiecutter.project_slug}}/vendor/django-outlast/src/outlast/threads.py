"""Threads for pages."""

import asyncio
import queue
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from threading import Semaphore, Thread
from typing import Any, cast

from asgiref.sync import sync_to_async
from django.db import connections


class Threads(Executor):
    """Run functions in at most `limit` threads; start a thread if none is idle.

    Unlike those of ThreadPoolExecutor, a thread that hangs does not keep the process from
    exiting, and a thread that ends closes its database connections.
    """

    def __init__(self, limit: int, name: str) -> None:
        if limit < 1:
            raise ValueError(f"The number of {name} threads is {limit}, but must be at least 1.")
        self.limit, self.name, self.started = limit, name, 0
        self._idle = Semaphore(0)
        self._jobs: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None]
        self._jobs = queue.SimpleQueue()

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function in a thread, where `async_to_sync` uses this event loop."""
        pool = cast(ThreadPoolExecutor, self)  # asgiref's type hint; any Executor will do
        return await sync_to_async(function, thread_sensitive=False, executor=pool)(*args)

    async def iterate(self, iterable: Iterable[bytes]) -> AsyncIterator[bytes]:
        """Yield the items of an iterable, each made in a thread."""
        items = iter(iterable)
        while (item := await self.run(next, items, None)) is not None:
            yield item

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Return the future of a call; only the event loop's thread calls this."""
        future: Future[Any] = Future()
        self._jobs.put((future, partial(function, *args, **kwargs)))
        if not self._idle.acquire(blocking=False) and self.started < self.limit:
            self.started += 1
            Thread(target=self._work, name=f"{self.name}-{self.started}", daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the threads after the waiting calls; do not wait for them."""
        for _ in range(self.started):
            self._jobs.put(None)

    def _work(self) -> None:
        while job := self._next():
            _run(*job)
            del job  # or this thread would keep the response until its next call
        connections.close_all()

    def _next(self) -> tuple[Future[Any], Callable[[], Any]] | None:
        try:
            return self._jobs.get_nowait()
        except queue.Empty:
            self._idle.release()
            return self._jobs.get()


class GeneratorThreads:
    """A thread for each of at most `limit` generators; more wait.

    A generator may keep a cursor or a transaction open between two chunks.
    """

    def __init__(self, limit: int) -> None:
        self._free = asyncio.Semaphore(limit)

    async def get(self) -> Threads:
        await self._free.acquire()
        return Threads(1, "stream")

    def close(self, thread: Threads, function: Callable[[], Any]) -> None:
        """Call a last function; do not wait for it, because a chunk may hang."""
        closing = asyncio.create_task(thread.run(function))
        closing.add_done_callback(lambda _: thread.shutdown())
        closing.add_done_callback(lambda _: self._free.release())


def _run(future: Future[Any], function: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(function())
    except BaseException as error:
        future.set_exception(error)
