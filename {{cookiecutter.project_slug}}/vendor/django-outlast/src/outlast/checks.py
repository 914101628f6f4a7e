"""System checks of the settings. They open no connection: `manage.py doctor` asks the services."""

from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import PurePath
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.contrib.staticfiles.storage import ManifestFilesMixin, staticfiles_storage
from django.core.checks import CheckMessage, Error, Tags, Warning, register  # noqa: A004
from django.core.exceptions import ImproperlyConfigured

from outlast import health, manifest
from outlast.conf import check_settings, conf
from outlast.health.errors import LOOPBACK, read_redis_address

register(check_settings)


@register(Tags.caches)
def check_redis(**kwargs: Any) -> Iterator[CheckMessage]:
    """Refuse an address that cannot be read; warn of too few Sentinels or a missing password."""
    if not health.uses_redis():
        return
    try:
        address = read_redis_address()
    except ImproperlyConfigured as error:
        hint = "Correct the LOCATION of the default cache."
        yield Error(str(error), hint=hint, id="outlast.E001")
        return
    sentinels = len(set(address.hosts))
    if address.service and sentinels < 3:
        yield Warning(
            f"The cache has {sentinels} Sentinels: with fewer than three, no majority is left to "
            "choose a new primary when one machine fails.",
            hint="Run three on machines that do not fail together, and list all of them in "
            "REDIS_SENTINELS.",
            id="outlast.W001",
        )
    remote = sorted({host for host, _ in address.hosts} - LOOPBACK)
    if remote and not settings.DEBUG and not address.tls and not address.options.get("password"):
        yield Warning(
            f"Redis at {', '.join(remote)} is used without a password and without TLS: anyone who "
            "can connect to it can read and change what the site keeps there.",
            hint="Set a password there (deploy/users.conf) and in REDIS_URL or REDIS_PASSWORD. In "
            "networks that others use, use TLS as well.",
            id="outlast.W002",
        )


@register(Tags.caches, deploy=True)
def check_workers(**kwargs: Any) -> Iterator[CheckMessage]:
    """Refuse several processes with a channel layer for one process."""
    layer = getattr(settings, "CHANNEL_LAYERS", {}).get("default", {}).get("BACKEND")
    one_process = ("outlast.channels.local.LocalLayer", "channels.layers.InMemoryChannelLayer")
    if layer in one_process and conf.WORKERS > 1:
        yield Error(
            f"WEB_CONCURRENCY is {conf.WORKERS}, but without PostgreSQL or Redis, live messages "
            "only reach the process that sends them, so people miss most of them.",
            hint="Set WEB_CONCURRENCY=1, DATABASE_URL to a PostgreSQL, or DJANGO_PROFILE to a "
            "profile with Redis.",
            id="outlast.E002",
        )


@register()
def check_listening(**kwargs: Any) -> Iterator[CheckMessage]:
    """Warn of live messages through a connection pooler for PostgreSQL."""
    layer = getattr(settings, "CHANNEL_LAYERS", {}).get("default", {})
    if layer.get("BACKEND") != "outlast.channels.postgres.PostgresLayer":
        return
    options = layer.get("CONFIG", {})
    database = settings.DATABASES[options.get("listen") or options.get("using", "default")]
    host, port = str(database.get("HOST", "")), str(database.get("PORT", ""))
    # PgBouncer's own port, those of Supabase and DigitalOcean, and the hosts of Neon and others.
    if port in ("6432", "6543", "25061") or "pooler" in host or "bouncer" in host:
        yield Warning(
            f"The database at {host}:{port or 5432} seems to be a connection pooler, which loses "
            "live messages unless it pools whole sessions.",
            hint="Set DATABASE_LISTEN_URL to the address of the PostgreSQL server itself.",
            id="outlast.W005",
        )


@register(Tags.staticfiles, deploy=True)
def check_static_files(**kwargs: Any) -> Iterator[CheckMessage]:
    """Refuse static files that were not collected: pages with them would fail."""
    storage = staticfiles_storage
    if not isinstance(storage, ManifestFilesMixin):  # as in development
        return
    found = {
        PurePath(getattr(place, "prefix", None) or "", path).as_posix()
        for finder in get_finders()
        for path, place in finder.list(["CVS", ".*", "*~"])
    }
    if missing := found - storage.load_manifest()[0].keys():
        yield Error(
            f"Some static files are not collected, such as {min(missing)}: pages "
            "that use one fail with status 500.",
            hint="Run: python manage.py collectstatic --noinput",
            id="outlast.E005",
        )


@register()
def check_metrics(**kwargs: Any) -> Iterator[CheckMessage]:
    """Refuse METRICS_TOKEN without prometheus-client."""
    if conf.METRICS_TOKEN and not find_spec("prometheus_client"):
        message = "METRICS_TOKEN is set, but the package prometheus-client is not installed."
        hint = "Install it: uv add prometheus-client, or pip install prometheus-client."
        yield Error(message, hint=hint, id="outlast.E003")


@register(Tags.security)
def check_debug(**kwargs: Any) -> Iterator[CheckMessage]:
    """Warn of debug pages on a public site; Django's W018 does so with --deploy only."""
    host = urlsplit(conf.SITE_URL).hostname or ""
    if settings.DEBUG and host not in LOOPBACK and not host.endswith((".localhost", ".test")):
        yield Warning(
            f"DJANGO_DEBUG is 1 on a public site, {conf.SITE_URL}: its error pages show settings "
            "and source code to everyone.",
            hint="Remove DJANGO_DEBUG from the environment and from .env.",
            id="outlast.W003",
        )


@register()
def check_vendored_copy(**kwargs: Any) -> Iterator[CheckMessage]:
    """Warn of changes in a vendored copy of this library."""
    if changed := manifest.changed_files():
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        yield Warning(
            f"The library in vendor/django-outlast was changed: {changed[0]}{more}. An update of "
            "the site overwrites or conflicts with such changes.",
            hint="Restore it, for example with git checkout, and change the site instead.",
            id="outlast.W006",
        )


@register(Tags.security)
def check_session_engine(**kwargs: Any) -> Iterator[CheckMessage]:
    """Refuse a session engine whose sessions do not end when their rows are deleted."""
    from django.contrib.sessions.backends import cached_db, db

    from outlast.sessions import file  # imports models, which are not ready before this runs

    engine = settings.SESSION_ENGINE
    store = import_module(engine).SessionStore
    if issubclass(store, file.SessionStore) and not settings.SESSION_FILE_PATH:
        message = "SESSION_FILE_PATH is not set, but the session engine keeps data in files."
        hint = "Set it to a folder that only this site uses. It will be made private."
        yield Error(message, hint=hint, id="outlast.E006")
    if not issubclass(store, db.SessionStore) or issubclass(store, cached_db.SessionStore):
        yield Error(
            f"Sessions of {engine} cannot be ended by deleting rows: copied cookies stay valid.",
            hint="Use an engine of outlast.sessions, Django's db engine, or a subclass of one of "
            "them.",
            id="outlast.E004",
        )


@register(Tags.security)
def check_cookies(**kwargs: Any) -> Iterator[CheckMessage]:
    """Refuse cookies that all browsers ignore because of their name or SameSite=None."""
    for kind in ("SESSION_COOKIE", "CSRF_COOKIE"):
        name, domain, path, secure, samesite = (
            getattr(settings, f"{kind}_{x}")
            for x in ("NAME", "DOMAIN", "PATH", "SECURE", "SAMESITE")
        )
        is_bound = name.startswith("__Host-") and (domain or path != "/")
        needs_tls = name.startswith(("__Host-", "__Secure-")) or samesite == "None"
        if is_bound or (needs_tls and not secure):
            text = f"Browsers ignore the cookie {name}: it must be secure"
            text += ", without domain or path." if name.startswith("__Host-") else "."
            hint = (
                f"Set {kind}_SECURE = True and remove {kind}_DOMAIN and {kind}_PATH, or change "
                f"{kind}_SAMESITE, or {kind}_NAME to a name that subdomains can overwrite."
            )
            yield Error(text, hint=hint, id="outlast.E012")
