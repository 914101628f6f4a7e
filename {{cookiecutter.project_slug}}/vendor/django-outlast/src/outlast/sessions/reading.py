"""Reading a session: its row and its user in one query, its data when code first uses it."""

from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends import db
from django.contrib.sessions.backends.base import VALID_KEY_CHARS
from django.db import router
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from outlast.models import AbstractSession, Session
from outlast.sessions import files
from outlast.sessions.lookup import find

IDENTITY = {SESSION_KEY, BACKEND_SESSION_KEY, HASH_SESSION_KEY}


class ReadingStore(db.SessionStore):
    """The part of `outlast.sessions.db.SessionStore` that reads."""

    reads_data = True  # together with the row
    hash_renewed = False  # not yet in the row
    _ended_key: str | None = None  # whose row the request itself deletes
    _ended_data: dict[str, Any] = {}  # of that session
    _get_session: Callable[..., dict[str, Any]]
    _aget_session: Callable[..., Awaitable[dict[str, Any]]]

    def __init__(self, session_key: str | None = None) -> None:
        super().__init__(session_key)
        self.row: AbstractSession | None = None  # as it was found or written last
        self.user: Any = None  # came with the row
        self._unread = False  # the row was looked up, and its data not yet taken from it

    @classmethod
    def get_model_class(cls) -> type[AbstractSession]:
        return Session

    @classmethod
    def rows(cls) -> Any:
        """All rows, in the database for writes: a replica may not know that a session ended."""
        model = cls.get_model_class()
        return model._default_manager.using(router.db_for_write(model))

    def _validate_session_key(self, key: str | None) -> bool:
        """Return whether Django could have made the key; otherwise the database is not asked."""
        return key is not None and 8 <= len(key) <= 40 and set(key) <= set(VALID_KEY_CHARS)

    def look_up(self, with_data: bool | None = None) -> AbstractSession | None:
        """Read the row again; return None, and clear the key, if the session has ended."""
        if self.session_key is None:
            return None
        with_data = self.reads_data if with_data is None else with_data
        self.row, self.user = find(
            self.get_model_class(), self.session_key, self.rows().db, with_data
        )
        self._unread = True
        if self.row is None or self.row.ends_at() <= timezone.now():
            self.row = self.user = self._session_key = None
            if not hasattr(self, "_session_cache"):
                self._session_cache: dict[str, Any] = {}
        else:
            self._accept_fallbacks(self.row)
        return self.row

    def _accept_fallbacks(self, row: AbstractSession) -> None:
        """After a rotation of SECRET_KEY, replace the hash; `touch()` writes it.

        Django's `get_user()` would replace the key, and that of Channels end the session.
        """
        hashes: Any = getattr(self.user, "get_session_auth_fallback_hash", tuple)
        given = (row.version and row.auth_hash) or ""
        if any(constant_time_compare(given, old) for old in hashes()):
            row.auth_hash, self.hash_renewed = self.user.get_session_auth_hash(), True

    def found(self) -> AbstractSession | None:
        """Return the row of the session, looked up once."""
        return self.row or self.look_up()

    def load(self) -> dict[str, Any]:
        row = self.row if self._unread else self.look_up()
        while row:
            self._unread = False
            data = self.fetch(row)
            if data is not None:
                return self._decoded(row, data)
            before, row = row, self.look_up(with_data=True)
            if row and files.in_file(row) and row.version == before.version:
                return self._decoded(row, row.session_data)  # its file is lost, or elsewhere
        return {}

    def _decoded(self, row: AbstractSession, data: str) -> dict[str, Any]:
        found = dict(self.decode(data))
        return found | {HASH_SESSION_KEY: row.auth_hash} if self.hash_renewed else found

    def note_end(self) -> None:
        """Load the data: the request itself is about to delete the row, but may go on using it.

        A password change ends all sessions, then Django gives this one a new key. What is
        saved without that goes to a new session without a user.
        """
        self._ended_data, self._ended_key = dict(self._get_session()), self.session_key

    def fetch(self, row: AbstractSession) -> str | None:
        """Return the encoded data of a session, or None if it is missing."""
        if files.in_file(row):
            return files.read(row)
        data: str | None = row.__dict__.get("session_data")  # missing if it was not selected
        return data

    def exists(self, session_key: str) -> bool:
        return bool(self.rows().filter(pk=session_key).exists())

    def _known(self, key: str) -> dict[str, Any]:
        """Return the data; for the keys of the user, the columns with the same values."""
        if key in IDENTITY and not hasattr(self, "_session_cache"):
            self.accessed = True
            if (row := self.found()) and row.version:
                return row.identity()
        return self._get_session()

    def __contains__(self, key: Any) -> bool:
        return key in self._known(key)

    def has_key(self, key: Any) -> bool:
        return key in self._known(key)

    def __getitem__(self, key: str) -> Any:
        return self._known(key)[key]

    def get(self, key: str, default: Any = None) -> Any:
        return self._known(key).get(key, default)

    async def _aknown(self, key: str) -> dict[str, Any]:
        if hasattr(self, "_session_cache"):
            return await self._aget_session()
        if key in IDENTITY and self.row is None:
            # With the data, because asynchronous code that uses it next cannot run a query.
            await sync_to_async(self.look_up)(with_data=True)
        return await sync_to_async(self._known)(key)

    async def ahas_key(self, key: str) -> bool:
        return key in await self._aknown(key)

    async def aget(self, key: str, default: Any = None) -> Any:
        return (await self._aknown(key)).get(key, default)
