"""Copies in Redis that are trusted for some seconds, SESSION_REVALIDATE_SECONDS.

For sites that must take session reads off the database. The price: after a fault in Redis,
or of a process between its commit and Redis, an ended session can live, and a session can
go back in time, for that many seconds. Without a fault neither happens.
"""

import time
from functools import partial

from django.conf import settings
from django.core.signing import BadSignature, Signer
from django.db import transaction

from outlast.models import Session
from outlast.sessions import db, redis

CHANGED = "changed"


class SessionStore(redis.SessionStore):
    """Asks the database only where Redis has no copy that is young enough.

    Copies are made by reading only, never in place of something. Saving or ending a
    session leaves a mark in its place, for as long as any older copy might be trusted:
    a reader who was slow cannot put back what it read before.
    """

    def fetch(self, copy: str | None = None) -> str | None:
        key = self.cache_key(self.session_key)
        found = self.cache().get(key)
        if encoded := self._unseal(found):
            return encoded
        asked_at = time.time()
        encoded = db.SessionStore.fetch(self)
        if encoded and found is None:
            sealed = self._signer().sign(f"{asked_at:.3f} {encoded}")
            self.cache().add(key, sealed, settings.SESSION_REVALIDATE_SECONDS)
        return encoded

    def put(self, encoded: str, must_create: bool) -> None:
        db.SessionStore.put(self, encoded, must_create)
        transaction.on_commit(partial(self._mark, self.session_key), using=self.database())

    @classmethod
    def forget(cls, session: Session) -> None:
        cls._mark(session.session_key)

    @classmethod
    def _mark(cls, session_key: str | None) -> None:
        seconds = settings.SESSION_REVALIDATE_SECONDS
        cls.cache().set(cls.cache_key(session_key), CHANGED, seconds)

    def _signer(self) -> Signer:
        """Sign for this session alone: copies cannot be swapped by who writes to Redis."""
        return Signer(salt=f"{__name__}.{self.session_key}")

    def _unseal(self, sealed: object) -> str | None:
        """Return the encoded session, if we made this copy of it a short while ago."""
        if not isinstance(sealed, str):
            return None
        try:
            asked_at, encoded = self._signer().unsign(sealed).split(" ")
        except BadSignature:
            return None
        young = time.time() - float(asked_at) < settings.SESSION_REVALIDATE_SECONDS
        return encoded if young else None
