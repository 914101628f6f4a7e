"""SQLite, which tells many writers from one that never ends."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db.backends.sqlite3 import base

from outlast.databases import IN_LINE_SECONDS


class Cursor(base.SQLiteCursorWrapper):
    """Django's, which tries again to write where others have written in the meantime.

    SQLite lets writers in by chance, not in turn: in a crowd some wait long. Its time-out
    is half of settings.DATABASE_SECONDS, so that two without a change in between are all.
    """

    in_line_seconds = IN_LINE_SECONDS

    def execute(self, query: str, params: Any = None) -> Any:
        deadline = time.monotonic() + self.in_line_seconds
        version = None
        while True:
            try:
                return super().execute(query, params)
            except sqlite3.OperationalError as error:
                busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
                if not busy or self.connection.in_transaction or time.monotonic() > deadline:
                    raise
                before, version = version, self._data_version()
                if version == before:
                    raise

    def _data_version(self) -> int:
        """A number that is another one once another connection has written."""
        (version,) = self.connection.execute("PRAGMA data_version").fetchone()
        return int(version)


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's, with that cursor."""

    cursor_class: type[Cursor] = Cursor

    def create_cursor(self, name: str | None = None) -> Cursor:
        cursor: Cursor = self.connection.cursor(factory=self.cursor_class)
        return cursor

    @contextmanager
    def without_waiting(self) -> Iterator[None]:
        """Fail within 50 ms where another connection is writing."""
        with self.cursor() as cursor:
            cursor.execute("PRAGMA busy_timeout")
            (milliseconds,) = cursor.fetchone()
            cursor.execute("PRAGMA busy_timeout = 50")
            self.cursor_class = ImpatientCursor
            try:
                yield
            finally:
                del self.cursor_class
                cursor.execute(f"PRAGMA busy_timeout = {milliseconds:d}")


class ImpatientCursor(Cursor):
    """A cursor that does not try again."""

    in_line_seconds = -1
