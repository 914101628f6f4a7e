"""`/healthz`, `/readyz` and `/metrics` for machines, and the diagnostics of `manage.py doctor`.

`/healthz` answers 200 while the process is running, even if a service is down: a restart would
not repair a database. `/readyz` answers 503 if people cannot log in, so it depends on the
database, and on the folder of session files. It does not depend on Redis, because the site works
without it, and a 503 from all servers at once would be an outage. `/readyz?strict` answers 503 if
any service is down, for alerts.
"""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse

from outlast.conf import conf
from outlast.health import probes
from outlast.health.runner import Finding, Probe, State, run_probes
from outlast.sessions import all_sessions

READY_SECONDS = 1.0  # a load balancer waits
REQUIRED = {"database", "files"}  # people cannot log in without them
DOCTOR_SECONDS = 8.0  # Windows takes 2 s to report that nothing listens

GetResponse = Callable[[HttpRequest], HttpResponse]


def uses_redis() -> bool:
    """Return whether the default cache is on Redis."""
    return bool(settings.CACHES["default"]["BACKEND"] == "outlast.cache.RedisCache")


def services(seconds: float) -> list[Probe]:
    """Return the probes of the services that the settings use."""
    found = [Probe("database", probes.database)]
    if probes.folders_in_use():
        found.append(Probe("files", probes.files))
    if uses_redis():
        from outlast.health import redis  # sites on other profiles start without redis-py

        found += redis.services(0.4 * seconds)  # Sentinels, and then the primary
    return found


def diagnostics() -> list[Probe]:
    """Return the probes that only the doctor asks."""
    cache = settings.CACHES["default"]["BACKEND"]
    on_redis = "redis" if uses_redis() else ""
    has_rows = all_sessions() is not None
    on_database = "database" if cache.endswith("DatabaseCache") else ""
    found = [
        Probe("versions", probes.versions),
        Probe("system checks", probes.system_checks),
        Probe("migrations", probes.migrations, needs="database"),
        *([Probe("session rows", probes.session_rows, needs="database")] if has_rows else []),
        Probe("session round trip", probes.session_round_trip, needs="database"),
        Probe("cache round trip", probes.cache_round_trip, needs=on_database or on_redis),
    ]
    if layers := getattr(settings, "CHANNEL_LAYERS", None):
        layer = layers["default"]["BACKEND"].lower()
        needs = "database" if "postgres" in layer else on_redis * ("redis" in layer)
        found.append(Probe("message round trip", probes.message_round_trip, needs=needs))
    if on_redis:
        from outlast.health import redis

        found += redis.diagnostics()
    return found


def readiness(seconds: float = READY_SECONDS) -> list[Finding]:
    """Ask the services that the settings use; return after `seconds` at the latest."""
    return run_probes(services(seconds), seconds)


def run_diagnostics(seconds: float = DOCTOR_SECONDS) -> list[Finding]:
    """Check the services, then check more of those that answer; in at most `2 * seconds`."""
    results, closer = readiness(seconds), diagnostics()
    missing = {result.name for result in results if result.state is State.DOWN}
    results += run_probes([probe for probe in closer if probe.needs not in missing], seconds)
    return results + [
        Finding(probe.name, State.SKIPPED, f"Skipped, because {probe.needs} is down.")
        for probe in closer
        if probe.needs in missing
    ]


def summary_line() -> str:
    """Return one line about the services, within a second."""
    results = readiness()
    line = ", ".join(f"{each.name} {each.state} ({each.milliseconds:.0f} ms)" for each in results)
    bad = next((each for each in results if each.state is not State.OK), None)
    return f"Services: {line}" + (f". {bad.text} Run: python manage.py doctor" if bad else "")


def health(get_response: GetResponse) -> GetResponse:
    """Return a middleware that answers these URLs before other middleware.

    Load balancers use plain HTTP and IP addresses, so neither the redirect to HTTPS nor
    `ALLOWED_HOSTS` may refuse them. No session is loaded.
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        if request.path == "/healthz":
            return alive()
        if request.path == "/readyz":
            return ready(strict="strict" in request.GET)
        if request.path == "/metrics" and conf.METRICS_TOKEN:
            from outlast.health import metrics  # needs prometheus-client

            return metrics.metrics(request)
        return get_response(request)

    return middleware


def alive() -> HttpResponse:
    """Return 200, because the process is running."""
    headers = {"Cache-Control": "no-store", "Content-Length": "3"}
    return HttpResponse("ok\n", "text/plain", headers=headers)


def ready(strict: bool) -> HttpResponse:
    """Return each service with its state; 503 if people cannot log in here.

    `strict`: 503 if any service is down. The response holds no addresses and no errors, since
    it is public.
    """
    results = readiness()
    is_ready = all(
        result.state is not State.DOWN for result in results if strict or result.name in REQUIRED
    )
    backends = {
        result.name: {"state": result.state, "milliseconds": result.milliseconds}
        for result in results
    }
    return JsonResponse(
        {"ready": is_ready, "profile": conf.PROFILE, "backends": backends},
        status=200 if is_ready else 503,
        headers={"Cache-Control": "no-store"},
    )
