"""The site's addresses, and pages with which the proof looks into the site."""

import os
import time
from collections.abc import Callable
from functools import partialmethod

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from config.urls import handler500
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt
from outlast.live import LiveConsumer, event, group_of

__all__ = ["handler500"]

# The server's process is named in the handshake of a socket, as it is in pages.
WORKER = str(os.getpid())
LiveConsumer.accept = partialmethod(  # type: ignore[method-assign]
    LiveConsumer.accept, headers=[(b"x-worker", WORKER.encode())]
)


def name_worker(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Name in every answer which of the server's processes gave it."""

    def answer(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response["X-Worker"] = WORKER
        return response

    return answer


@csrf_exempt
def session(request: HttpRequest) -> JsonResponse:
    """Return who is logged in and the number in the session; POST writes another number."""
    user = request.user.email if request.user.is_authenticated else None
    number = request.session.get("number", 0)
    if user and request.method == "POST":
        request.session["number"] = int(request.POST["number"])
    return JsonResponse({"user": user, "number": number})


def cached(request: HttpRequest) -> JsonResponse:
    """Write the given name to the cache; return whether it can be read back."""
    name = request.GET["name"]
    cache.set(name, name, timeout=60)
    return JsonResponse({"cached": cache.get(name) == name})


@csrf_exempt
def send(request: HttpRequest) -> JsonResponse:
    """Send a name to the user's open pages; return the wait in ms, and what was raised."""
    message = {"type": "account.event", "event": event("outage", request.POST["name"])}
    group = group_of(request.user.pk)  # reads the session, which is not part of sending
    began, raised = time.perf_counter(), ""
    try:
        async_to_sync(get_channel_layer().group_send)(group, message)
    except Exception as error:
        raised = repr(error)
    return JsonResponse({"waited": 1000 * (time.perf_counter() - began), "error": raised})


urlpatterns = [
    path("", include("config.urls")),
    path("outage/session/", session),
    path("outage/cache/", cached),
    path("outage/send/", send),
]
