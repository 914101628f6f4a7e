"""`/healthz` and `/readyz`: what machines ask before they send people here.

`/healthz` says that the process lives, whatever it depends on: who fails it is started
anew, and no restart mends a database. `/readyz` says whether people can log in here, so
the relational database (and, in the profile `file`, the folders) decide between 200 and
503. Redis does not: without it the site is slower and everybody still gets in, while a
503 from all servers at once would be the outage that the site is built to avoid. Whoever
wants an alarm for anything that is down asks `/readyz?strict`.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse

from apps.backends import probes
from apps.backends.probes import State


class HealthMiddleware:
    """Answers both addresses before any other middleware looks at the request.

    Load balancers ask over plain HTTP and by address: neither the redirect to HTTPS nor
    `ALLOWED_HOSTS` may get in their way, and no session is loaded.
    """

    sync_capable = async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponse | Awaitable[HttpResponse]:
        if iscoroutinefunction(self):
            return self.answer(request)
        return (
            ready(request)
            if request.path == "/readyz"
            else alive()
            if request.path == "/healthz"
            else self.get_response(request)
        )

    async def answer(self, request: HttpRequest) -> HttpResponse:
        """Answer from the event loop itself: a server whose threads are all busy lives."""
        if request.path == "/healthz":
            return alive()
        if request.path == "/readyz":
            return await sync_to_async(ready, thread_sensitive=False)(request)
        return await self.get_response(request)


def alive() -> HttpResponse:
    """Return 200: the process lives."""
    return HttpResponse("ok\n", "text/plain", headers={"Cache-Control": "no-store"})


def ready(request: HttpRequest) -> HttpResponse:
    """Return each service with its state and milliseconds; 503 if nobody can log in here.

    Neither addresses nor errors are in it: anybody may ask.
    """
    results = probes.take_stock()
    strict = "strict" in request.GET
    missing = [result for result in results if result.state is State.DOWN]
    is_ready = not any(strict or result.probe.required for result in missing)
    return JsonResponse(
        {
            "ready": is_ready,
            "profile": settings.PROFILE,
            "backends": {
                result.name: {"state": result.state, "milliseconds": result.milliseconds}
                for result in results
            },
        },
        status=200 if is_ready else 503,
        headers={"Cache-Control": "no-store"},
    )
