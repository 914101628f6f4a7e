"""Sessions in the database, with copies of their data in Redis.

Copies can be missing (evictions, restarts, a write lost in a failover) or out of date (an old
snapshot, a lost deletion). So the query for the user also loads the version of the data, and a
copy is used only if it was signed with that version. An ended session has no row.
"""

import logging
from functools import partial
from typing import Any

from django.conf import settings
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.db import transaction
from django.utils import timezone

from outlast.models import AbstractSession
from outlast.sessions import db, files

logger = logging.getLogger(__name__)


class SessionStore(db.SessionStore):
    """Adds a copy of the data in the cache SESSION_CACHE_ALIAS to the engine `db`.

    The copy is read when code first uses the session's data. Without a copy, the row is read.
    """

    reads_data = False

    def fetch(self, row: AbstractSession) -> str | None:
        data = super().fetch(row)
        if row.version is None or files.in_file(row):
            return data
        if data is None:
            return files.unsign(row, _call("get", row))
        _set_copy(row, files.sign(row, data))
        return data

    def write(self, session: AbstractSession, must_create: bool) -> None:
        super().write(session, must_create)
        copy = partial(_set_copy, session, files.sign(session, session.session_data))
        transaction.on_commit(copy, using=self.rows().db)

    @classmethod
    def forget(cls, session: AbstractSession) -> None:
        super().forget(session)
        _call("delete", session)


def name_of(session_key: str) -> str:
    """Return the cache key of a session's copy."""
    return f"session:{files.name_of(session_key)}"


def copies() -> BaseCache:
    return caches[settings.SESSION_CACHE_ALIAS]


def _set_copy(session: AbstractSession, signed: str) -> None:
    seconds = (session.expire_date - timezone.now()).total_seconds()
    _call("set", session, signed, int(seconds))  # 0 or less: it is deleted


def _call(method: str, session: AbstractSession, *args: Any) -> Any:
    """Call the cache; return None if it cannot be used."""
    try:
        return getattr(copies(), method)(name_of(session.session_key), *args)
    except Exception as error:
        logger.warning("Copies of sessions cannot be used: %s: %s", type(error).__name__, error)
        return None
