"""Probes of the relational database, which holds accounts, sessions and the site's truth."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from outlast.probes.base import Finding, fine, warning

# clearsessions runs daily: rows that ended before are its work left undone.
OVERDUE = timedelta(days=2)
OVERDUE_ROWS = 1_000  # fewer slow nobody down
CLOCK_SECONDS = 2.0


def database() -> Finding:
    """Ask it what every login asks: something about users."""
    get_user_model().objects.exists()
    version = ".".join(map(str, connection.get_database_version()))
    return fine(f"{connection.display_name} {version} {_place()}")


def _place() -> str:
    config = connection.settings_dict
    if connection.vendor != "sqlite":
        return f"at {config['HOST'] or 'localhost'}:{config['PORT'] or 5432}/{config['NAME']}"
    path = Path(str(config["NAME"]))
    if not path.is_file():
        return "in memory"
    return f"in {path.name}, {path.stat().st_size / 1e6:.1f} MB"


def migrations() -> Finding:
    """Whether the tables are those that this version of the code expects."""
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if plan:
        first = plan[0][0]
        return warning(
            f"{len(plan)} of them not applied yet, from {first.app_label}.{first.name} on.",
            "Apply them: python manage.py migrate",
        )
    return fine(f"all {len(executor.loader.applied_migrations)} applied")


def cache_table() -> str:
    """Return the table of the cache in the database, or "" where the cache is elsewhere."""
    cache = settings.CACHES["default"]
    is_table = cache["BACKEND"] == "django.core.cache.backends.db.DatabaseCache"
    return str(cache["LOCATION"]) if is_table else ""


def cache_rows() -> Finding:
    """Whether the table of the cache is there, and how full."""
    table = connection.ops.quote_name(cache_table())
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT COUNT(*) FROM {table}")  # noqa: S608
        (rows,) = cursor.fetchone()
    limit = settings.CACHES["default"]["OPTIONS"]["MAX_ENTRIES"]
    return fine(f"{rows:,} of at most {limit:,} entries")


def session_rows() -> Finding:
    """How many sessions are open, and whether those that ended are cleared away."""
    from outlast.models import Session

    expired = Session.objects.expired()
    overdue = expired.filter(expire_date__lt=timezone.now() - OVERDUE).count()
    text = f"{Session.objects.alive().count():,} open, {expired.count():,} ended"
    if overdue > OVERDUE_ROWS:
        return warning(
            f"{text}, {overdue:,} of them over {OVERDUE.days} days ago: nobody clears them away.",
            "Clear them: python manage.py clearsessions",
            "and have that run daily: docs/operations.md",
        )
    return fine(text)


def clock() -> Finding:
    """How far the database's clock is from this machine's; sessions end by this machine's."""
    if connection.vendor != "postgresql":
        return fine("this machine's own")
    with connection.cursor() as cursor:
        sent = perf_counter()
        cursor.execute("SELECT clock_timestamp()")
        (theirs,) = cursor.fetchone()
        half = timedelta(seconds=(perf_counter() - sent) / 2)
    return clock_finding(theirs + half)


def clock_finding(theirs: datetime) -> Finding:
    """Compare another machine's time with this machine's."""
    seconds = (theirs - datetime.now(UTC)).total_seconds()
    text = f"{abs(seconds):.3f} s {'ahead of' if seconds > 0 else 'behind'} this machine's"
    if abs(seconds) > CLOCK_SECONDS:
        return warning(
            f"{text}: logs cannot be put in order and sessions end at the wrong time.",
            "Let both machines follow a time server (on Linux: timedatectl set-ntp true)",
        )
    return fine(text)
