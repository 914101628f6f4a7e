"""Sessions in files of this machine, with their lives in the database.

Django's engine `file` never expires a session whose `set_expiry` was a number, cannot say
which sessions a user has, and loses a write on a full disk without a word. Here the row
decides about life and age, as with every engine, and only the data is in a file.
"""

import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TypeVar

from django.conf import settings

from apps.backends.models import Session
from apps.backends.sessions import db

T = TypeVar("T")


class SessionStore(db.SessionStore):
    """Keeps the session's data in a file of the private folder SESSION_FILE_PATH."""

    def fetch(self, copy: str | None = None) -> str | None:
        if super().fetch() is None:
            return None
        try:
            return _patiently(_path(self.session_key).read_text, "ascii")
        except FileNotFoundError:
            return None

    def put(self, encoded: str, must_create: bool) -> None:
        """Write the row, with no data in it, then replace the file in one step."""
        super().put("", must_create)
        path = _path(self.session_key)
        _make_private(path.parent)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
        try:
            with open(handle, "w", encoding="ascii") as file:  # noqa: PTH123
                file.write(encoded)
            _patiently(Path(name).replace, path)
        except BaseException:
            Path(name).unlink()
            raise

    @classmethod
    def forget(cls, session_key: str) -> None:
        with suppress(FileNotFoundError):
            _patiently(_path(session_key).unlink)

    @classmethod
    def clear_expired(cls) -> None:
        """Delete dead rows with their files, and files that have no row (any more)."""
        super().clear_expired()
        an_hour_ago = time.time() - 3600  # a younger one's row may not be committed yet
        folder = Path(settings.SESSION_FILE_PATH)
        paths = (path for path in folder.glob("*") if path.stat().st_mtime < an_hour_ago)
        while batch := {path.name: path for path in islice(paths, 500)}:
            rows = Session.objects.using(cls.database()).filter(session_key__in=batch)
            for name in batch.keys() - set(rows.values_list("session_key", flat=True)):
                _patiently(batch[name].unlink)


def _path(session_key: str) -> Path:
    return Path(settings.SESSION_FILE_PATH) / session_key


def _make_private(folder: Path) -> None:
    """Let nobody else look into the folder: file names are session keys."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_mode & 0o077:
        folder.chmod(0o700)


def _patiently(operation: Callable[..., T], *args: object) -> T:
    """Call `operation`, again for half a second while another has the file open.

    Windows refuses to replace a file that is being read, and to read one being replaced.
    """
    for _ in range(50):
        with suppress(PermissionError):
            return operation(*args)
        time.sleep(0.01)
    return operation(*args)
