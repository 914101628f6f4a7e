"""How every service that the site uses is asked for its health: once, in bounded time.

`services` are what the active profile cannot do without or is slower without: they answer
`/readyz`, the dashboard's panel and the first line of `runserver`. `examinations` look
closer, for `manage.py doctor`.
"""

from django.conf import settings

from outlast.probes import local, relational
from outlast.probes.base import Finding, Probe, Result, State, ask

__all__ = [
    "Finding",
    "Probe",
    "Result",
    "State",
    "check_up",
    "services",
    "summary_line",
    "take_stock",
]

READY_SECONDS = 1.0  # a load balancer, or a person before the dashboard, is waiting
DOCTOR_SECONDS = 5.0


def redis_in_use() -> bool:
    """Whether the active profile uses Redis."""
    return bool(settings.CACHES["default"]["BACKEND"] == "outlast.cache.RedisCache")


def services() -> list[Probe]:
    """Return the probes of the services that the active profile uses."""
    found = [Probe("database", relational.database, required=True)]
    if local.folders_in_use():
        found.append(Probe("files", local.files, required=True))
    if redis_in_use():
        from outlast.probes import redis

        found += redis.services()
    return found


def examinations() -> list[Probe]:
    """Return the closer looks of the doctor."""
    cache_needs = message_needs = "redis" if redis_in_use() else ""
    found = [
        Probe("versions", local.versions),
        *([] if settings.DEBUG else [Probe("static files", local.static_files)]),
        Probe("migrations", relational.migrations, needs="database"),
        Probe("session rows", relational.session_rows, needs="database"),
        Probe("session round trip", local.session_round_trip, needs="database"),
    ]
    if relational.cache_table():
        found.append(Probe("cache table", relational.cache_rows, needs="database"))
        cache_needs = "database"
    found += [
        Probe("cache round trip", local.cache_round_trip, needs=cache_needs),
        Probe("message round trip", local.message_round_trip, needs=message_needs),
        Probe("database clock", relational.clock, needs="database"),
    ]
    if redis_in_use():
        from outlast.probes import redis

        found += redis.examinations()
    return found


def take_stock(seconds: float = READY_SECONDS) -> list[Result]:
    """Ask the services of the active profile; answers after `seconds` at most."""
    return ask(services(), seconds)


def check_up(seconds: float = DOCTOR_SECONDS) -> list[Result]:
    """Ask the services, then look closer where they answer; takes `2 * seconds` at most."""
    results = take_stock(seconds)
    missing = {result.name for result in results if result.state is State.DOWN}
    closer = examinations()
    results += ask([probe for probe in closer if probe.needs not in missing], seconds)
    for probe in closer:
        if probe.needs in missing:
            skipped = Finding(State.SKIPPED, f"Not asked, since {probe.needs} is down.")
            results.append(Result(probe, skipped, 0))
    return results


def summary_line() -> str:
    """Return one line on the services of the active profile, after a second at most."""
    results = take_stock()
    line = ", ".join(
        f"{result.name} {result.state} ({result.milliseconds:.0f} ms)" for result in results
    )
    bad = next((result for result in results if result.state is not State.OK), None)
    hint = f". {bad.finding.text} See: python manage.py doctor" if bad else ""
    return f"Services: {line}{hint}"
