"""Sessions in the database: as Django's engine `db`, in one query together with the user."""

import hashlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from django.contrib.auth import SESSION_KEY, get_user_model
from django.contrib.sessions.backends.base import (
    VALID_KEY_CHARS,
    CreateError,
    SessionBase,
    UpdateError,
)
from django.db import Error, IntegrityError, connections, router, transaction
from django.utils import timezone
from django.utils.crypto import get_random_string

from outlast.models import Session
from outlast.sessions.lookup import find

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser as User

logger = logging.getLogger(__name__)


def version_of(encoded: str) -> str:
    """The version of an encoded session, as strong as an ETag can be.

    A copy whose version is the row's *is* what the row holds, however it came about:
    no save that was rolled back and nobody who can write to Redis makes another.
    """
    return hashlib.sha256(encoded.encode()).hexdigest()


class SessionStore(SessionBase):
    """Keeps a session in its row.

    Asynchronous methods are those of `SessionBase`, which run these in a thread.
    """

    user: "User | None" = None  # came with the row, see middleware.py
    unseen = False  # `last_seen` is due
    address: str | None = None
    user_agent = ""
    _get_session: Callable[..., dict[str, Any]]

    @classmethod
    def database(cls) -> str:
        """The alias that is written to: a replica may not know yet that a session ended."""
        return router.db_for_write(Session)

    def _validate_session_key(self, key: str | None) -> bool:
        """Let no key reach database, file system or Redis that Django cannot have made."""
        return key is not None and 8 <= len(key) <= 40 and set(key) <= set(VALID_KEY_CHARS)

    def _get_new_session_key(self) -> str:
        """Return a random key without asking, as Django does, whether it is there already.

        165 random bits are not, and the INSERT of `create()` would tell.
        """
        return get_random_string(32, VALID_KEY_CHARS)

    # --- Reading ---

    def load(self) -> dict[str, Any]:
        encoded = self.fetch()
        if encoded is None:
            self._session_key = None
            return {}
        return self.decode(encoded)

    def fetch(self, copy: str | None = None) -> str | None:
        """Return the encoded session, None if it is not alive; `copy` itself if that holds."""
        found = find(self.session_key, version_of(copy) if copy else "", self.database())
        if found is None:
            return None
        self.user, self.unseen = found.user, found.unseen
        return copy if found.data is None else found.data

    def exists(self, session_key: str) -> bool:
        return Session.objects.using(self.database()).filter(session_key=session_key).exists()

    # --- Writing ---

    def create(self) -> None:
        while True:
            self._session_key = self._get_new_session_key()
            try:
                self.save(must_create=True)
            except CreateError:
                continue
            self.modified = True
            return

    def save(self, must_create: bool = False) -> None:
        if self.session_key is None:
            return self.create()
        data = self._get_session(no_load=must_create)
        self.put(self.encode(data), must_create)
        self.unseen = False
        return None

    def put(self, encoded: str, must_create: bool) -> None:
        """Write the row; raises CreateError or UpdateError as `save()` has to."""
        using = self.database()
        values = {
            "session_data": encoded,
            "version": version_of(encoded),
            "expire_date": self.get_expiry_date(),
            "last_seen": timezone.now(),
            "user_id": self._user_id(),
        }
        opened = {
            "session_key": self.session_key,
            "address": self.address,
            "user_agent": self.user_agent,
        }
        rows = Session.objects.using(using).filter(session_key=self.session_key)
        try:
            if not must_create:
                # One statement: Django's engine opens a transaction around it.
                if not rows.update(**values):
                    raise UpdateError
            else:
                with transaction.atomic(using=using):
                    Session(**opened, **values).save(force_insert=True, using=using)
        except IntegrityError as error:
            # The key is taken; or the user has been deleted, and their sessions with them.
            raise (CreateError if must_create else UpdateError) from error

    def _user_id(self) -> Any:
        value = self.get(SESSION_KEY)
        return None if value is None else get_user_model()._meta.pk.to_python(value)

    # --- Ending ---

    def delete(self, session_key: str | None = None) -> None:
        session_key = session_key or self.session_key
        if session_key:
            Session.objects.using(self.database()).filter(session_key=session_key).delete()

    @classmethod
    def forget(cls, session: Session) -> None:
        """Remove what there is outside the database of a session whose row is gone."""

    @classmethod
    def clear_expired(cls) -> None:
        """Delete the rows of dead sessions, a few at a time: nobody waits long for the lock."""
        sessions = Session.objects.using(cls.database())
        while keys := list(sessions.dead().values_list("session_key", flat=True)[:500]):
            sessions.dead().filter(session_key__in=keys).delete()

    # --- What the page of open sessions shows ---

    def opened_by(self, address: str, user_agent: str) -> None:
        """Say who asks; written if a session is created."""
        try:
            self.address = str(ip_address(address))
        except ValueError:  # a Unix socket has none
            self.address = None
        self.user_agent = user_agent[:300]

    def touch(self) -> None:
        """Write `last_seen`, if it is due and the database is free: no request waits for it."""
        if not self.unseen or not self.session_key:
            return
        self.unseen = False
        using = self.database()
        rows = Session.objects.using(using).filter(session_key=self.session_key)
        try:
            with without_waiting(connections[using]):
                rows.update(last_seen=timezone.now())
        except Error as error:
            logger.info("last_seen of a session was not written: %s", error)


@contextmanager
def without_waiting(connection: Any) -> Iterator[None]:
    """On SQLite fail within 50 ms where another connection is writing."""
    if connection.vendor != "sqlite":
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA busy_timeout")
        (milliseconds,) = cursor.fetchone()
        cursor.execute("PRAGMA busy_timeout = 50")
        try:
            yield
        finally:
            cursor.execute(f"PRAGMA busy_timeout = {milliseconds:d}")
