"""Health checks of the database, of this machine, and of the site's own backends."""

import asyncio
import os
import platform
import secrets
import tempfile
import time
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.cache import caches
from django.core.checks import run_checks
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from outlast.health.errors import database_service, explain
from outlast.health.runner import Concern, Problem
from outlast.sessions import all_sessions

EXPIRED_ROWS = 10_000  # clearsessions runs daily; fewer rows slow nothing down
CONNECTION_SHARE = 0.8
MESSAGE_SECONDS = 2.0


def database() -> str:
    """Query users, as every login does; warn when PostgreSQL's connections run out."""
    get_user_model().objects.exists()
    number = ".".join(map(str, connection.get_database_version()))
    text = f"{connection.display_name} {number} at {database_service().place}"
    if connection.vendor != "postgresql":
        return text
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT sum(numbackends), current_setting('max_connections')::int"
            " - current_setting('superuser_reserved_connections')::int FROM pg_stat_database"
        )
        used, limit = cursor.fetchone()
    text += f", {used} of {limit} connections"
    if used >= CONNECTION_SHARE * limit:
        _, *remedies = database_service().explain(DatabaseError("too many clients"))
        raise Concern(f"{text}: new ones will soon be refused.", *remedies)
    return text


def migrations() -> str:
    """Check that all migrations are applied."""
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if plan:
        text = f"{len(plan)} not applied, the first is {plan[0][0]}."
        raise Concern(text, "Apply them: python manage.py migrate")
    return f"all {len(executor.loader.applied_migrations)} applied"


def session_rows() -> str:
    """Count open sessions; warn if expired ones are not deleted."""
    alive = all_sessions().alive().count()
    expired = all_sessions().count() - alive
    text = f"{alive:,} open, {expired:,} expired"
    if expired > EXPIRED_ROWS:
        raise Concern(
            f"{text}: expired sessions are not deleted.",
            "Delete them: python manage.py clearsessions",
            "Run this command daily: docs/operations.md",
        )
    return text


def versions() -> str:
    """Report the versions of Python and packages."""
    found = [f"{name} {version(name)}" for name in ("django", "channels", "redis", "uvicorn")]
    return f"Python {platform.python_version()}, {', '.join(found)}, {platform.system()}"


def system_checks() -> str:
    """Run Django's system checks, in production with those of `check --deploy`."""
    deploy = not settings.DEBUG
    found = [m for m in run_checks(include_deployment_checks=deploy) if not m.is_silenced()]
    if not found:
        return "no issues"
    worst = max(found, key=lambda message: message.level)
    remedies = [worst.hint] if worst.hint else []
    if len(found) > 1:
        remedies += [f"All {len(found)} issues: python manage.py check{' --deploy' * deploy}"]
    raise (Problem if worst.is_serious() else Concern)(worst.msg, *remedies)


def folders_in_use() -> list[Path]:
    """Return the folders in which the settings keep sessions and cache entries."""
    found, cache = [], settings.CACHES["default"]
    if cache["BACKEND"].endswith("FileBasedCache"):
        found.append(cache["LOCATION"])
    if settings.SESSION_ENGINE.endswith("sessions.file") and settings.SESSION_FILE_PATH:
        found.append(settings.SESSION_FILE_PATH)
    return [Path(folder) for folder in found]


def files() -> str:
    """Check that these folders are writable, and not readable by other users."""
    folders = folders_in_use()
    for folder in folders:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        if os.name == "posix" and folder.stat().st_mode & 0o077:
            text = f"{folder} can be read by other users of this machine."
            raise Concern(text, f"chmod 700 {folder}")
    return "writable and private: " + ", ".join(folder.name for folder in folders)


def session_round_trip() -> str:
    """Write a session, read it as the next request does, and end it."""
    store = import_module(settings.SESSION_ENGINE).SessionStore
    written = store()
    written["doctor"] = token = secrets.token_hex(8)
    written.set_expiry(60)
    written.create()
    try:
        read = store(written.session_key).get("doctor")
    finally:
        written.delete()
    remedy = f"Check SESSION_ENGINE, {settings.SESSION_ENGINE}, and where it keeps sessions"
    if read != token:
        raise Problem("A session that was just written is missing.", remedy)
    if store(written.session_key).get("doctor"):
        raise Problem("A session that was ended still exists.", remedy)
    return f"written, read and ended: {settings.SESSION_ENGINE}"


def cache_round_trip() -> str:
    """Write a cache entry, read it back and delete it."""
    cache: Any = caches["default"]
    name = settings.CACHES["default"]["BACKEND"].rpartition(".")[2]
    if name == "DummyCache":
        return "nothing is cached: DummyCache"
    key, token = f"doctor-{secrets.token_hex(8)}", secrets.token_hex(8)
    strict = getattr(cache, "strict", cache)  # raises errors that the Redis cache hides
    for attempt in range(5):  # Django's DatabaseCache drops a write that meets another one
        time.sleep(0.05 * attempt)
        strict.set(key, token, timeout=60)
        if read := strict.get(key):
            break
    strict.delete(key)
    if read != token:
        raise Problem("An entry that was just written is missing: the cache is full or broken.")
    return f"written, read and deleted: {name}"


def message_round_trip() -> str:
    """Send a message through the channel layer and receive it."""
    from channels.layers import channel_layers

    layer = channel_layers["default"]
    name = type(layer).__name__
    try:
        asyncio.run(_send_and_receive(layer))
    except TimeoutError:
        text = f"A message did not return within {MESSAGE_SECONDS:g} s through {name}."
        if error := getattr(layer, "last_error", None):
            reason, *remedies = explain(error)
            raise Problem(f"{text} {reason}", *remedies) from None
        remedy = "Check whether Redis is overloaded: redis-cli --latency"
        raise Problem(text, remedy) from None
    return f"sent and received: {name}"


async def _send_and_receive(layer: Any) -> None:
    channel = await layer.new_channel()
    message = {"type": "doctor", "text": secrets.token_hex(8)}
    async with asyncio.timeout(MESSAGE_SECONDS):
        await layer.send(channel, message)
        if (received := await layer.receive(channel)) != message:
            raise RuntimeError(f"Sent {message}, received {received}.")
