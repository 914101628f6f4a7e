"""Sessions in the database: Django's engine `db`, in one query together with the user."""

import logging
import math
import uuid
from contextlib import nullcontext
from copy import copy
from datetime import timedelta
from functools import partial
from ipaddress import ip_address
from typing import Any, cast

from asgiref.sync import sync_to_async
from django.contrib.sessions.backends import base
from django.db import Error, IntegrityError, transaction
from django.utils import timezone
from django.utils.crypto import get_random_string

from outlast.conf import conf
from outlast.models import AbstractSession
from outlast.sessions import files
from outlast.sessions.lookup import update_unless_locked
from outlast.sessions.reading import IDENTITY, ReadingStore

logger = logging.getLogger(__name__)

# Columns that stay as they are when a session is saved again.
KEPT = ("created", "authenticated", "public_id", "address", "user_agent")
BATCH = 500


class SessionStore(ReadingStore):
    """Keeps a session in its row. The user is read without the session's data.

    To extend it, override `get_model_class()` with a child of `outlast.models.AbstractSession`,
    and `create_model_instance()`, as Django documents for its engine.
    """

    keeps_key = False  # while get_user() may call cycle_key()
    password_given = False  # the next save writes `authenticated`
    address: str | None = None
    user_agent = ""
    _replaced: AbstractSession | None = None  # whose key is being replaced
    _only_if: dict[str, Any] | None = None  # values of the row without which it is not written
    _random_key = ""

    def _get_new_session_key(self) -> str:
        """Return 165 random bits, without Django's query whether the key is in use."""
        self._random_key = get_random_string(32, base.VALID_KEY_CHARS)
        return self._random_key

    # --- Writing ---

    def create_model_instance(self, data: dict[str, Any]) -> AbstractSession:
        session: Any = super().create_model_instance(data)
        session.set_identity(data)
        session.last_seen = timezone.now()
        if self.password_given:
            session.authenticated = session.last_seen
        return cast(AbstractSession, session)

    def save(self, must_create: bool = False) -> None:
        if self.session_key is None:
            return self.create()
        data = self._get_session(no_load=must_create)
        try:
            self.write(self.create_model_instance(data), must_create)
        except base.UpdateError:
            if self.session_key != self._ended_key:
                raise  # another request ended it
            for key in IDENTITY | self._ended_data.keys():
                if key in IDENTITY or data.get(key) == self._ended_data[key]:
                    data.pop(key, None)  # of the session that has ended
            return self.create()
        self.password_given = self.hash_renewed = False
        return None

    def write(self, session: AbstractSession, must_create: bool) -> None:
        """Write the row in one statement; raise CreateError or UpdateError as Django does."""
        (self._insert if must_create else self._update)(session)

    def _insert(self, session: AbstractSession) -> None:
        self._fill(session, self._replaced)
        using = self.rows().db
        session._outlast_same = True
        # A random key is not in use, so that no savepoint is needed for that case.
        chosen = session.session_key != self._random_key
        try:
            with transaction.atomic(using) if chosen else nullcontext():
                session.save(force_insert=True, using=using)
        except IntegrityError as error:
            raise base.CreateError from error
        self.row, self.user = session, None

    def _update(self, session: AbstractSession) -> None:
        before, values = self.row, self._values(session, self.row)
        rows = self.rows().filter(pk=session.session_key, **(self._only_if or {}))
        if not rows.update(**values):
            raise base.UpdateError
        if before is None:
            self.row = session
            return
        if files.in_file(before):
            transaction.on_commit(partial(files.remove, copy(before)), using=self.rows().db)
        for name, value in values.items():
            setattr(before, name, value)

    def _values(self, session: AbstractSession, before: AbstractSession | None) -> dict[str, Any]:
        """Return what to write in a row; one that Django's engine wrote gets all columns."""
        if before and before.version is None and not before.public_id:
            self._fill(session, before)
        fields = [field for field in session._meta.concrete_fields if not field.primary_key]
        values = {field.attname: field.pre_save(session, add=False) for field in fields}
        return {k: v for k, v in values.items() if k not in KEPT or v is not None}

    def _fill(self, session: AbstractSession, earlier: AbstractSession | None) -> None:
        """Set the columns that are kept: those of an earlier row, or those of a new session."""
        new = {
            "created": timezone.now(),
            "public_id": uuid.uuid4(),
            "address": self.address,
            "user_agent": self.user_agent,
        }
        known = vars(earlier) if earlier else {}  # without columns that were not selected
        for name in KEPT:
            if getattr(session, name) is None:
                value = known.get(name)
                setattr(session, name, new.get(name) if value is None else value)

    def cycle_key(self) -> None:
        """Replace the key, in one transaction; times, address and public ID are kept.

        If the row was deleted meanwhile, it is created again, as by Django's engine: code that
        ends all sessions of a user calls this to keep its own.
        """
        if self.keeps_key:
            return
        known, old = self.row, None
        self._get_session()  # before its row is deleted
        if self.session_key:
            # Before the transaction: on SQLite one that begins by reading cannot wait to write.
            old = self.rows().filter(pk=self.session_key).first()
        with transaction.atomic(self.rows().db) if old else nullcontext():
            if old:
                old.rotated = True
                copy(old).delete()
            self._replaced = old or known
            self.create()
            self._replaced = None
        self.modified = True

    # --- Ending ---

    def delete(self, session_key: str | None = None) -> None:
        session_key = session_key or self.session_key
        if session_key:
            self.rows().filter(pk=session_key).delete()
        if session_key == self.session_key:
            self.row = self.user = None

    @classmethod
    def forget(cls, session: AbstractSession) -> None:
        """Remove data outside of the database of a session whose row is deleted."""
        files.remove(session)

    @classmethod
    def clear_expired(cls) -> None:
        """Delete the rows of expired sessions in batches, and files that no row names.

        Rows that Django's engine wrote get their columns.
        """
        expired, last = cls.rows().expired(), ""
        while keys := list(
            expired.filter(pk__gt=last).order_by("pk").values_list("pk", flat=True)[:BATCH]
        ):
            expired.filter(pk__in=keys).delete()
            last = keys[-1]
        for row in cls.rows().filter(version=None, public_id=None).iterator(BATCH):
            session = cls(row.session_key)  # of Django's engine, and not used since
            session.row = row
            session.touch()
        files.remove_orphans(cls.get_model_class(), cls.rows().db)

    # Django's engine has asynchronous copies of all methods; these call those above in a thread.
    aload, asave = base.SessionBase.aload, base.SessionBase.asave
    acreate, adelete = base.SessionBase.acreate, base.SessionBase.adelete

    @classmethod
    async def aclear_expired(cls) -> None:
        await sync_to_async(cls.clear_expired)()

    async def acycle_key(self) -> None:
        await sync_to_async(self.cycle_key)()

    # --- For the page of open sessions ---

    def opened_by(self, address: str, user_agent: str) -> None:
        """Record the client of the request; it is saved if a session is created."""
        try:
            self.address = str(ip_address(address))
        except ValueError:  # a Unix socket has none
            self.address = None
        self.user_agent = user_agent[:300].replace("\0", "")

    def touch(self) -> None:
        """Write `last_seen` if it is due, without waiting for a lock; do not fail.

        A row that Django's engine wrote gets its columns here, and after a rotation of
        SECRET_KEY the new hash is written, unless another request has changed the row.
        """
        row, now = self.row, timezone.now()
        if row is None:
            return
        data, same = vars(row).get("session_data"), {"version": row.version}
        if row.version is None:
            same["session_data"] = data
        try:
            if self.hash_renewed:
                self._only_if = same
                self.write(self.create_model_instance(self._get_session()), must_create=False)
            elif row.version is None and data is not None:
                columns = self._columns(row, data)
                update_unless_locked(self.rows().filter(**same), row.pk, columns)
            elif not row.last_seen or row.last_seen <= now - _last_seen_interval():
                update_unless_locked(self.rows(), row.pk, {"last_seen": now})
        except (Error, base.UpdateError, OSError) as error:
            logger.info("last_seen of a session was not written: %r", error)
        finally:
            self._only_if = None

    def _columns(self, row: AbstractSession, data: str) -> dict[str, Any]:
        """Return the values of the columns for a row that Django's engine wrote."""
        session = self.get_model_class()(last_seen=timezone.now())
        session.set_identity(self.decode(data))
        values = self._values(session, row)
        names = ("user_id", "backend", "auth_hash", "version", "last_seen", *KEPT)
        return {name: values[name] for name in names if name in values}


def _last_seen_interval() -> timedelta:
    """At most a tenth of the idle timeout, which is therefore accurate to a tenth."""
    tenth = conf.SESSION_IDLE_SECONDS / 10 or math.inf
    return timedelta(seconds=min(conf.SESSION_LAST_SEEN_SECONDS, tenth))
