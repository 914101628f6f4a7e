"""System checks of the settings: what will go wrong, said before it does.

They read settings and nothing else: `manage.py check` must work where no service runs, in
a build for instance. Whether the services answer is for `manage.py doctor` to say.
"""

from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, Tags, register

from outlast import static
from outlast.advice import LOOPBACK
from outlast.conf import conf


@register(Tags.caches)
def check_sentinels(**kwargs: Any) -> list[CheckMessage]:
    """Too little is known of the Sentinels, or there are too few to agree on anything."""
    return list(_sentinel_messages())


def _sentinel_messages() -> Iterator[CheckMessage]:
    cache = settings.CACHES["default"]
    sentinels = cache.get("OPTIONS", {}).get("sentinels")
    if sentinels is None:
        return
    if not urlsplit(cache["LOCATION"]).hostname:
        yield Error(
            "REDIS_SENTINEL_SERVICE is empty, so that no Sentinel can be asked for the primary.",
            hint="Set it to the name in their configuration (sentinel monitor NAME ...).",
            id="outlast.E001",
        )
    if len(set(sentinels)) < 3:
        yield checks.Warning(
            f"REDIS_SENTINELS names {len(set(sentinels))}: with fewer than three, no majority is "
            "left to name a new primary when one machine fails.",
            hint="Run three, on machines that do not fail together, and name them all.",
            id="outlast.W001",
        )


@register(Tags.caches, deploy=True)
def check_workers(**kwargs: Any) -> list[CheckMessage]:
    """Messages stay within one process while the site runs in several."""
    layer = settings.CHANNEL_LAYERS.get("default", {}).get("BACKEND")
    one_process = ("outlast.channels.local.LocalLayer", "channels.layers.InMemoryChannelLayer")
    if layer not in one_process or conf.WORKERS <= 1:
        return []
    return [
        Error(
            f"WEB_CONCURRENCY is {conf.WORKERS}, but without PostgreSQL or Redis live messages do "
            "not leave their process: most people would miss most of them.",
            hint="Set WEB_CONCURRENCY=1, DATABASE_URL to a PostgreSQL, or DJANGO_PROFILE to a "
            "profile with Redis.",
            id="outlast.E002",
        )
    ]


@register()
def check_listening(**kwargs: Any) -> list[CheckMessage]:
    """Live messages by PostgreSQL, at an address that looks like a connection pooler's.

    `check` connects to nothing: the layer itself says so in the log where it does not look so.
    """
    layer = settings.CHANNEL_LAYERS.get("default", {})
    if layer.get("BACKEND") != "outlast.channels.postgres.PostgresLayer":
        return []
    options = layer.get("CONFIG", {})
    database = settings.DATABASES[options.get("listen") or options.get("using", "default")]
    host, port = str(database.get("HOST", "")), str(database.get("PORT", ""))
    # PgBouncer's own port, those of Supabase and DigitalOcean, and the hosts of Neon and others.
    looks_pooled = port in ("6432", "6543", "25061") or "pooler" in host or "bouncer" in host
    if not looks_pooled and not database.get("DISABLE_SERVER_SIDE_CURSORS"):
        return []
    return [
        checks.Warning(
            f"The database at {host}:{port or 5432} seems to be a connection pooler, which loses "
            "live messages unless it pools by session.",
            hint="Set DATABASE_LISTEN_URL to the address of the PostgreSQL server itself.",
            id="outlast.W005",
        )
    ]


@register(Tags.security, deploy=True)
def check_redis_password(**kwargs: Any) -> list[CheckMessage]:
    """A Redis across the network that anybody may write to."""
    cache = settings.CACHES["default"]
    options, place = cache.get("OPTIONS", {}), urlsplit(str(cache.get("LOCATION", "")))
    if place.scheme != "redis":
        return []
    hosts = {host for host, _ in options.get("sentinels", [])} or {place.hostname or ""}
    foreign = sorted(hosts - LOOPBACK)
    if not foreign or place.password or options.get("password"):
        return []
    return [
        checks.Warning(
            f"Redis at {', '.join(foreign)} is used without a password and without TLS: whoever "
            "reaches it reads and writes what the site keeps there.",
            hint="Set a password there (deploy/users.conf) and in REDIS_URL or REDIS_PASSWORD; "
            "across networks that are not yours alone, rediss:// as well.",
            id="outlast.W002",
        )
    ]


@register(Tags.staticfiles, deploy=True)
def check_static_files(**kwargs: Any) -> list[CheckMessage]:
    """Pages that fail because `collectstatic` has not run since a static file was added."""
    missing = static.not_collected()
    if not missing:
        return []
    return [
        Error(
            f"{len(missing)} static files are not collected, {missing[0]} for instance: pages "
            "that use one fail with status 500.",
            hint=f"Run: {static.COMMAND}",
            id="outlast.E005",
        )
    ]


@register()
def check_metrics(**kwargs: Any) -> list[CheckMessage]:
    """A token for metrics that cannot be made."""
    if not conf.METRICS_TOKEN or find_spec("prometheus_client"):
        return []
    return [
        Error(
            "METRICS_TOKEN is set, but the package prometheus-client is not installed.",
            hint="Install it: uv add prometheus-client, or pip install prometheus-client.",
            id="outlast.E003",
        )
    ]


@register(Tags.security)
def check_debug(**kwargs: Any) -> list[CheckMessage]:
    """Pages that show settings and source to everybody. `--deploy` has Django's W018."""
    host = urlsplit(conf.SITE_URL).hostname or ""
    if not settings.DEBUG or host in LOOPBACK or host.endswith((".localhost", ".test")):
        return []
    return [
        checks.Warning(
            f"DJANGO_DEBUG is 1 while the site is for the public, at {conf.SITE_URL}: its "
            "error pages show settings and source code to everybody.",
            hint="Take DJANGO_DEBUG out of the environment and of .env.",
            id="outlast.W003",
        )
    ]


@register(Tags.security)
def check_session_engine(**kwargs: Any) -> list[CheckMessage]:
    """An engine without our rows, by which sessions are listed and ended."""
    from outlast.sessions import db  # imports models, which are not ready before this runs

    engine = settings.SESSION_ENGINE
    if issubclass(import_module(engine).SessionStore, db.SessionStore):
        return []
    return [
        Error(
            f"Sessions of {engine} cannot be ended: whoever kept the cookie stays logged in.",
            hint="Take an engine of outlast.sessions, or make one on the base of its db.",
            id="outlast.E004",
        )
    ]
