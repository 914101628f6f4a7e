"""`/healthz`, `/readyz` and `/metrics`: what machines ask.

`/healthz` says that the process lives, whatever it depends on: who fails it is started
anew, and no restart mends a database. `/readyz` says whether people can log in here, so
the relational database (and, in the profile `file`, the folders) decide between 200 and
503. Redis does not: without it the site is slower and everybody still gets in, while a
503 from all servers at once would be the outage that the site is built to avoid. Whoever
wants an alarm for anything that is down asks `/readyz?strict`.
"""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, JsonResponse

from outlast import probes
from outlast.conf import conf
from outlast.probes import State

GetResponse = Callable[[HttpRequest], HttpResponse]

ALIVE = {"Cache-Control": "no-store", "Content-Length": "3"}


def health(get_response: GetResponse) -> GetResponse:
    """A middleware that answers these addresses before any other looks at the request.

    Load balancers ask over plain HTTP and by address: neither the redirect to HTTPS nor
    `ALLOWED_HOSTS` may get in their way, and no session is loaded.
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        if request.path == "/healthz":
            return alive()
        if request.path == "/readyz":
            return ready(strict="strict" in request.GET)
        if request.path == "/metrics" and conf.METRICS_TOKEN:
            from outlast import metrics  # needs a package that most sites do without

            return metrics.answer(request)
        return get_response(request)

    return middleware


def alive() -> HttpResponse:
    """Return 200: the process lives."""
    return HttpResponse("ok\n", "text/plain", headers=ALIVE)


def ready(strict: bool) -> HttpResponse:
    """Return each service with its state and milliseconds; 503 if nobody can log in here.

    `strict`: 503 for anything that is down. Neither addresses nor errors are in the answer,
    since anybody may ask.
    """
    results = probes.take_stock()
    missing = [result for result in results if result.state is State.DOWN]
    is_ready = not any(strict or result.probe.required for result in missing)
    return JsonResponse(
        {
            "ready": is_ready,
            "profile": conf.PROFILE,
            "backends": {
                result.name: {"state": result.state, "milliseconds": result.milliseconds}
                for result in results
            },
        },
        status=200 if is_ready else 503,
        headers={"Cache-Control": "no-store"},
    )
