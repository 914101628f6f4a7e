"""Sessions in files of this machine, with their lives in the database.

Django's engine `file` never expires a session whose `set_expiry` was a number, cannot say
which sessions a user has, loses a write on a full disk without a word, and on Windows
where a session is read meanwhile. Here the row decides about life and age, as with every
engine, and names the file that has the data. A file is written once, under a new name
for every save: so a save counts when its row is committed, or not at all.
"""

import os
import secrets
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

from django.conf import settings
from django.db import transaction

from outlast.models import Session
from outlast.sessions import db

PREFIX = "file:"  # in the row, followed by the name of the file


class SessionStore(db.SessionStore):
    """Keeps the session's data in a file of the private folder SESSION_FILE_PATH."""

    pointer = ""  # what the row said when it was read

    def fetch(self, copy: str | None = None) -> str | None:
        """Return what is in the file; ask again if a save removed it after the row was read."""
        for attempts_left in reversed(range(5)):
            pointer = super().fetch()
            if pointer is None or not pointer.startswith(PREFIX):
                return None
            self.pointer = pointer
            try:
                return _path(pointer).read_text("ascii")
            except FileNotFoundError:
                pass
            except PermissionError:  # Windows, while it is being removed
                if not attempts_left:
                    raise
        return None

    def put(self, encoded: str, must_create: bool) -> None:
        before = "" if must_create else self.pointer
        self.pointer = PREFIX + secrets.token_hex(16)
        _make_private(Path(settings.SESSION_FILE_PATH))
        handle = os.open(_path(self.pointer), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(handle, "w", encoding="ascii") as file:  # noqa: PTH123
            file.write(encoded)
        try:
            super().put(self.pointer, must_create)
        except Exception:
            _remove(self.pointer)
            raise
        transaction.on_commit(partial(_remove, before), using=self.database())

    @classmethod
    def forget(cls, session: Session) -> None:
        _remove(session.session_data)

    @classmethod
    def clear_expired(cls) -> None:
        """Delete dead rows with their files, and files that no row names (any more)."""
        super().clear_expired()
        an_hour_ago = time.time() - 3600  # a younger one's row may not be committed yet
        rows = Session.objects.using(cls.database())
        named = set(rows.values_list("session_data", flat=True).iterator())
        for path in Path(settings.SESSION_FILE_PATH).glob("*"):
            if path.stat().st_mtime < an_hour_ago and PREFIX + path.name not in named:
                _remove(PREFIX + path.name)


def _path(pointer: str) -> Path:
    return Path(settings.SESSION_FILE_PATH) / pointer.removeprefix(PREFIX)


def _remove(pointer: str) -> None:
    """Remove a file, or leave it to `clearsessions` where Windows says that it is in use."""
    if pointer.startswith(PREFIX):
        with suppress(FileNotFoundError, PermissionError):
            _path(pointer).unlink()


def _make_private(folder: Path) -> None:
    """Let nobody else look into the folder."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_mode & 0o077:
        folder.chmod(0o700)
