"""How the server hands requests to Django."""

from collections.abc import Callable
from typing import Any

from asgiref.sync import sync_to_async
from django.core.handlers import asgi
from django.http import HttpRequest


class ASGIHandler(asgi.ASGIHandler):
    """Django's handler, with a request in one thread from the first middleware to the last.

    Django's own runs every middleware as a coroutine, and most of them hop into a thread
    and back, twice each: this site's stack took three times as long that way. Views and
    ORM are synchronous anyway; asynchronous views are still awaited, by the thread.
    """

    _middleware_chain: Callable[[HttpRequest], Any]

    def load_middleware(self, is_async: bool = False) -> None:
        super().load_middleware(is_async=False)
        self._middleware_chain = sync_to_async(self._middleware_chain, thread_sensitive=True)
