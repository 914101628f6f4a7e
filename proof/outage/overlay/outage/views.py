"""Pages that show what no page of the site shows so plainly."""

import os
from collections.abc import Callable

from django.core.cache import cache
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt


def name_worker(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Say in every answer which of the server's processes gave it."""

    def answer(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response["X-Worker"] = str(os.getpid())
        return response

    return answer


@csrf_exempt
def session(request: HttpRequest) -> JsonResponse:
    """Say who is logged in and the number in the session; POST writes another number."""
    user = request.user.email if request.user.is_authenticated else None
    number = request.session.get("number", 0)
    if user and request.method == "POST":
        request.session["number"] = int(request.POST["number"])
    return JsonResponse({"user": user, "number": number})


def cached(request: HttpRequest) -> JsonResponse:
    """Write the name that is asked for to the cache, and say whether it can be read back."""
    name = request.GET["name"]
    cache.set(name, name, timeout=60)
    return JsonResponse({"cached": cache.get(name) == name})
