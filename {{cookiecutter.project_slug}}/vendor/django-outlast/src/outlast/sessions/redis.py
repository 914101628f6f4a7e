"""Sessions in the database, with copies in Redis that cannot lie.

Redis forgets: evictions, restarts, a write lost in a failover. And it remembers too much:
an old snapshot, a deletion that never arrived. So a copy is used like a page in a
browser's cache, when the owner has confirmed its ETag: the query that loads the user is
told the version of the copy, and answers with the session's data where the row's differs.
An ended session has no row, and nothing that Redis says brings it back.
"""

from functools import partial

from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.db import transaction

from outlast.models import Session
from outlast.sessions import db


class SessionStore(db.SessionStore):
    """Adds a copy in the cache to the engine `db`.

    The cache of the Redis profiles raises no error while Redis is away: there is no copy
    then, and the row comes with its data.
    """

    @staticmethod
    def cache() -> BaseCache:
        return caches["default"]

    @staticmethod
    def cache_key(session_key: str | None) -> str:
        return f"session:{session_key}"

    def fetch(self, copy: str | None = None) -> str | None:
        key = self.cache_key(self.session_key)
        found = self.cache().get(key)
        copy = found if isinstance(found, str) else None
        encoded = super().fetch(copy)
        if encoded and encoded != copy:
            expiry = self.decode(encoded).get("_session_expiry")
            self.cache().set(key, encoded, self.get_expiry_age(expiry=expiry))
        return encoded

    def put(self, encoded: str, must_create: bool) -> None:
        super().put(encoded, must_create)
        key = self.cache_key(self.session_key)
        copy = partial(self.cache().set, key, encoded, self.get_expiry_age())
        transaction.on_commit(copy, using=self.database())

    @classmethod
    def forget(cls, session: Session) -> None:
        cls.cache().delete(cls.cache_key(session.session_key))
