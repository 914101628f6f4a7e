"""Session data outside of the database: in files on this machine, and in Redis.

Its name is a hash of the session's key, and it is signed with the key and the version of the row.
Both are unknown to an attacker who can only read or write files or Redis.
"""

import hashlib
import os
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.crypto import constant_time_compare, salted_hmac

from outlast.models import AbstractSession

MARK = "file-"  # prefix of a version whose data is in a file
NAME = re.compile(r"[0-9a-f]{64}")  # what `name_of` returns


def in_file(session: AbstractSession) -> bool:
    return bool(session.version and session.version.startswith(MARK))


def name_of(*parts: str) -> str:
    """Return the name of a session outside of the database."""
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def sign(session: AbstractSession, data: str) -> str:
    return f"{_signature(session, data, settings.SECRET_KEY)} {data}"


def unsign(session: AbstractSession, signed: Any) -> str | None:
    """Return the data if it was signed for this session and its version, otherwise None."""
    if not isinstance(signed, str):
        return None
    signature, _, data = signed.partition(" ")
    for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        if constant_time_compare(signature, _signature(session, data, secret)):
            return data
    return None


def _signature(session: AbstractSession, data: str, secret: str | bytes) -> str:
    salt = f"outlast.sessions {session.session_key} {session.version}"
    return salted_hmac(salt, data, secret=secret, algorithm="sha256").hexdigest()


def read(session: AbstractSession) -> str | None:
    """Return the data in the session's file, or None without a file that we have signed."""
    for attempts_left in reversed(range(5)) if settings.SESSION_FILE_PATH else ():
        try:
            return unsign(session, _path(session).read_text("ascii"))
        except (FileNotFoundError, UnicodeDecodeError):
            return None
        except PermissionError:  # Windows, while the file is being removed
            if not attempts_left:
                raise
            time.sleep(0.01)
    return None


def write(session: AbstractSession, data: str) -> None:
    """Write a new file that only this system user can read."""
    path = _path(session)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.parent.stat().st_mode & 0o077:
        path.parent.chmod(0o700)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(handle, "w", encoding="ascii") as file:  # noqa: PTH123
        file.write(sign(session, data))


def remove(session: AbstractSession) -> None:
    """Remove the session's file, or leave it to `clearsessions` if it is in use on Windows."""
    if in_file(session) and settings.SESSION_FILE_PATH:
        with suppress(FileNotFoundError, PermissionError):
            _path(session).unlink()


def remove_orphans(model: type[AbstractSession], using: str) -> None:
    """Remove old files without a row. New ones may belong to a row that is not committed yet."""
    an_hour_ago = time.time() - 3600
    old = {}
    known = bool(settings.SESSION_FILE_PATH) and folder().is_dir()
    for entry in os.scandir(folder()) if known else ():
        with suppress(FileNotFoundError):  # a session was saved meanwhile
            # The folder may be shared: only files that this module names are its own.
            is_ours = NAME.fullmatch(entry.name) and entry.is_file(follow_symlinks=False)
            if is_ours and entry.stat().st_mtime < an_hour_ago:
                old[entry.name] = entry.path
    if not old:
        return
    rows = model._base_manager.using(using).filter(version__startswith=MARK)
    for key, version in rows.values_list("session_key", "version").iterator():
        old.pop(name_of(key, version or ""), None)
    for path in old.values():
        with suppress(FileNotFoundError, PermissionError):
            Path(path).unlink()


def folder() -> Path:
    """Return the folder; raise ImproperlyConfigured without one, as `write` makes it private."""
    if not settings.SESSION_FILE_PATH:
        raise ImproperlyConfigured(
            "SESSION_FILE_PATH is not set, but the session engine outlast.sessions.file needs it. "
            "Set it to the path of a folder that only this site uses."
        )
    return Path(settings.SESSION_FILE_PATH)


def _path(session: AbstractSession) -> Path:
    return folder() / name_of(session.session_key, session.version or "")
