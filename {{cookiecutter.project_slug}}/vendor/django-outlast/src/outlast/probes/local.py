"""Probes of what is on this machine, and round trips through the site's own backends."""

import asyncio
import os
import platform
import secrets
import tempfile
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import django
from channels.layers import channel_layers
from django.conf import settings
from django.core.cache import caches

from outlast import static
from outlast.advice import explain, is_about_redis
from outlast.probes.base import Finding, down, fine, warning

SECONDS = 2.0  # for a message to come back
FOLDERS = {
    "outlast.filebased.FileBasedCache": lambda: Path(settings.CACHES["default"]["LOCATION"]),
    "outlast.sessions.file": lambda: Path(settings.SESSION_FILE_PATH),
}


def folders_in_use() -> list[Path]:
    """Return the folders in which the active profile keeps sessions and cache entries."""
    used = (settings.CACHES["default"]["BACKEND"], settings.SESSION_ENGINE)
    return [FOLDERS[name]() for name in used if name in FOLDERS]


def files() -> Finding:
    """Whether the folders can be written to, and are nobody else's to read."""
    for folder in folders_in_use():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        if os.name == "posix" and folder.stat().st_mode & 0o077:
            return warning(
                f"{folder} is open to other users of this machine.", f"chmod 700 {folder}"
            )
    return fine("writable and private: " + ", ".join(map(_short, folders_in_use())))


def _short(path: Path) -> str:
    inside = path.is_relative_to(settings.BASE_DIR)
    return str(path.relative_to(settings.BASE_DIR) if inside else path)


def versions() -> Finding:
    """What the site runs on."""
    found = [f"Python {platform.python_version()}", f"Django {django.__version__}"]
    for package in ("channels", "redis", "uvicorn"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return fine(", ".join(found) + f", {platform.system()}")


def static_files() -> Finding:
    """Whether `collectstatic` has run since a static file was added."""
    missing = static.not_collected()
    if missing:
        text = f"{len(missing)} are not collected, {missing[0]} for instance: pages fail."
        return down(text, static.COMMAND)
    return fine("collected")


def session_round_trip() -> Finding:
    """Write a session, read it as the next request would, and end it."""
    store = import_module(settings.SESSION_ENGINE).SessionStore
    written = store()
    written["doctor"] = token = secrets.token_hex(8)
    written.set_expiry(60)
    written.create()
    try:
        read = store(written.session_key).get("doctor")
    finally:
        written.delete()
    if read != token:
        return down("A session that was just written is not there.", "See docs/troubleshooting.md")
    if store(written.session_key).get("doctor"):
        return down("A session that was ended is still there.", "See docs/troubleshooting.md")
    return fine(f"written, read and ended: {settings.SESSION_ENGINE}")


def cache_round_trip() -> Finding:
    """Write a cache entry, read it back and delete it."""
    cache, backend = caches["default"], settings.CACHES["default"]["BACKEND"]
    name = backend.rpartition(".")[2]
    key, token = f"doctor-{secrets.token_hex(8)}", secrets.token_hex(8)
    # In the Redis profiles `strict` raises the reason; elsewhere there is nothing to hide.
    strict = getattr(cache, "strict", cache)
    strict.set(key, token, timeout=60)
    read = strict.get(key)
    strict.delete(key)
    if name == "DummyCache":
        return fine("nothing is kept, as the profile says: DummyCache")
    if read != token:
        return down("An entry that was just written is not there: the cache is full or broken.")
    return fine(f"written, read and deleted: {name}")


def message_round_trip() -> Finding:
    """Send a message through the channel layer and receive it."""
    name = settings.CHANNEL_LAYERS["default"]["BACKEND"].rpartition(".")[2]
    try:
        asyncio.run(_send_and_receive())
    except TimeoutError:
        text = (
            f"A message did not come back within {SECONDS:g} s through {name}: "
            "live events will not arrive."
        )
        error = getattr(channel_layers["default"], "last_error", None)
        if error and is_about_redis(error):
            reason, *remedies = explain(error)
            return down(f"{text} {reason}", *remedies)
        return down(text, "See whether Redis is overloaded: redis-cli --latency")
    return fine(f"sent and received: {name}")


async def _send_and_receive() -> None:
    layer = channel_layers["default"]
    channel = await layer.new_channel()
    message = {"type": "doctor", "text": secrets.token_hex(8)}
    async with asyncio.timeout(SECONDS):
        await layer.send(channel, message)
        received = await layer.receive(channel)
    if received != message:
        raise RuntimeError(f"Sent {message}, received {received}.")
