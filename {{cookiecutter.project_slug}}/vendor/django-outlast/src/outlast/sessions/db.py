"""Sessions in the database: Django's engine `db`, in one query together with the user."""

import logging
import uuid
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from copy import copy
from datetime import timedelta
from functools import partial
from ipaddress import ip_address
from typing import Any, cast

from asgiref.sync import sync_to_async
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends import db
from django.contrib.sessions.backends.base import (
    VALID_KEY_CHARS,
    CreateError,
    SessionBase,
    UpdateError,
)
from django.db import Error, IntegrityError, connections, models, router, transaction
from django.db.models.expressions import RawSQL
from django.utils import timezone
from django.utils.crypto import get_random_string

from outlast.conf import conf
from outlast.models import AbstractSession, Session
from outlast.sessions import files
from outlast.sessions.lookup import find

logger = logging.getLogger(__name__)

IDENTITY = {SESSION_KEY, BACKEND_SESSION_KEY, HASH_SESSION_KEY}
# Columns that stay as they are when a session is saved again.
KEPT = ("created", "authenticated", "public_id", "address", "user_agent")  # these two: if new
BATCH = 500


class SessionStore(db.SessionStore):
    """Keeps a session in its row. Who is logged in is read without the session's data.

    To extend it, override `get_model_class()` with a child of `outlast.models.AbstractSession`,
    and `create_model_instance()`, as Django documents for its engine.
    """

    reads_data = True  # together with the row
    may_return = True  # by cycle_key(), after its row was deleted
    password_given = False  # the next save writes `authenticated`
    address: str | None = None
    user_agent = ""
    _get_session: Callable[..., dict[str, Any]]
    _aget_session: Callable[..., Awaitable[dict[str, Any]]]

    def __init__(self, session_key: str | None = None) -> None:
        super().__init__(session_key)
        self.row: AbstractSession | None = None  # as it was found or written last
        self.user: Any = None  # came with the row
        self._unread = False  # the row was looked up, and its data not yet taken from it
        self._replaced: AbstractSession | None = None  # whose key is being replaced
        self._random_key = ""

    @classmethod
    def get_model_class(cls) -> type[AbstractSession]:
        return Session

    @classmethod
    def rows(cls) -> Any:
        """All rows, where they are written: a replica may not know yet that a session ended."""
        model = cls.get_model_class()
        return model._default_manager.using(router.db_for_write(model))

    def _validate_session_key(self, key: str | None) -> bool:
        """Ask the database about no key that Django cannot have made."""
        return key is not None and 8 <= len(key) <= 40 and set(key) <= set(VALID_KEY_CHARS)

    def _get_new_session_key(self) -> str:
        """Return 165 random bits, without Django's query whether they are in use already."""
        self._random_key = get_random_string(32, VALID_KEY_CHARS)
        return self._random_key

    # --- Reading ---

    def look_up(self, with_data: bool | None = None) -> AbstractSession | None:
        """Read the row again; return None, and forget the key, if the session has ended."""
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
        return self.row

    def found(self) -> AbstractSession | None:
        """Return the row of the session, looked up once."""
        return self.row or self.look_up()

    def load(self) -> dict[str, Any]:
        row = self.row if self._unread else self.look_up()
        while row:
            self._unread = False
            data = self.fetch(row)
            if data is not None:
                return dict(self.decode(data))
            before, row = row, self.look_up(with_data=True)
            if row and files.in_file(row) and row.version == before.version:
                return dict(self.decode(row.session_data))  # its file is lost, or elsewhere
        return {}

    def fetch(self, row: AbstractSession) -> str | None:
        """Return the encoded data of a session from where it is; None if it is not there."""
        if files.in_file(row):
            return files.read(row)
        data: str | None = row.__dict__.get("session_data")  # missing if it was not selected
        return data

    def exists(self, session_key: str) -> bool:
        return bool(self.rows().filter(pk=session_key).exists())

    # --- Who is logged in ---

    def _known(self, key: str) -> dict[str, Any]:
        """Return the data; for who is logged in, the columns that say the same."""
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
        return await sync_to_async(self._known)(key)

    async def ahas_key(self, key: str) -> bool:
        return key in await self._aknown(key)

    async def aget(self, key: str, default: Any = None) -> Any:
        return (await self._aknown(key)).get(key, default)

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
        self.write(self.create_model_instance(data), must_create)
        self.password_given = False
        return None

    def write(self, session: AbstractSession, must_create: bool) -> None:
        """Write the row in one statement; raise CreateError or UpdateError as Django does."""
        if must_create:
            self._insert(session)
        else:
            self._update(session)

    def _insert(self, session: AbstractSession) -> None:
        self._fill(session, self._replaced)
        using = self.rows().db
        # A random key is not in use, so that no savepoint is needed for that case.
        chosen = session.session_key != self._random_key
        try:
            with transaction.atomic(using) if chosen else nullcontext():
                session.save(force_insert=True, using=using)
        except IntegrityError as error:
            raise CreateError from error
        self.row, self.user = session, None

    def _update(self, session: AbstractSession) -> None:
        before = self.row
        if before and before.version is None:
            self._fill(session, before, KEPT[:3] if before.public_id else KEPT)
        fields = [field for field in session._meta.concrete_fields if not field.primary_key]
        values = {field.attname: field.pre_save(session, add=False) for field in fields}
        values = {k: v for k, v in values.items() if k not in KEPT or v is not None}
        if not self.rows().filter(pk=session.session_key).update(**values):
            raise UpdateError
        if before is None:
            self.row = session
            return
        if files.in_file(before):
            transaction.on_commit(partial(files.remove, copy(before)), using=self.rows().db)
        for name, value in values.items():
            setattr(before, name, value)

    def _fill(
        self, session: AbstractSession, earlier: AbstractSession | None, names: Any = KEPT
    ) -> None:
        """Set the columns that stay: those of an earlier row, else those of a new session."""
        new = {
            "created": timezone.now(),
            "public_id": uuid.uuid4(),
            "address": self.address,
            "user_agent": self.user_agent,
        }
        known = vars(earlier) if earlier else {}  # without columns that were not selected
        for name in names:
            values = (getattr(session, name), known.get(name), new.get(name))
            setattr(session, name, next((v for v in values if v is not None), None))

    def cycle_key(self) -> None:
        """Replace the key, in one transaction; times, address and public id stay.

        If the row was deleted meanwhile, it is created again, as by Django's engine: code that
        ends all sessions of a user does so to keep its own. Not if `may_return` is False: the
        key stays, and the next save raises UpdateError.
        """
        known, data = self.row, self._get_session()
        if known and not self.session_key and self.may_return:  # its data is lost
            data.update(known.identity())
        old, deleted = None, 0
        if self.session_key:
            # Before the transaction: on SQLite one that begins by reading cannot wait to write.
            old = self.rows().filter(pk=self.session_key).first()
        with transaction.atomic(self.rows().db) if old else nullcontext():
            if old:
                old.rotated = True
                deleted, _objects = copy(old).delete()
            if deleted or self.may_return or SESSION_KEY not in data:
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
        """Remove what there is outside of the database of a session whose row is deleted."""
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
    aload, asave = SessionBase.aload, SessionBase.asave
    acreate, adelete = SessionBase.acreate, SessionBase.adelete

    @classmethod
    async def aclear_expired(cls) -> None:
        await sync_to_async(cls.clear_expired)()

    async def acycle_key(self) -> None:
        await sync_to_async(self.cycle_key)()

    # --- What the page of open sessions shows ---

    def opened_by(self, address: str, user_agent: str) -> None:
        """Note who makes the request; written if a session is created."""
        try:
            self.address = str(ip_address(address))
        except ValueError:  # a Unix socket has none
            self.address = None
        self.user_agent = user_agent[:300].replace("\0", "")

    def touch(self) -> None:
        """Write `last_seen` if it is due; do not wait for a lock, and do not fail.

        A row that Django's engine wrote gets its columns here.
        """
        row, now = self.row, timezone.now()
        if row is None or row.session_key != self.session_key:
            return
        rows, values = self.rows(), {"last_seen": now}
        if row.version is None and (data := vars(row).get("session_data")) is not None:
            rows, values = rows.filter(version=None, session_data=data), self._columns(row, data)
        elif row.last_seen and row.last_seen > now - _last_seen_interval():
            return
        try:
            _update_unless_locked(rows, row.pk, values)
        except Error as error:
            logger.info("last_seen of a session was not written: %s", error)

    def _columns(self, row: AbstractSession, data: str) -> dict[str, Any]:
        """Return the columns that belong to a row which Django's engine wrote."""
        session = self.get_model_class()(last_seen=timezone.now())
        session.set_identity(self.decode(data))
        self._fill(session, row, KEPT[:3] if row.public_id else KEPT)
        names = ("user_id", "backend", "auth_hash", "version", "last_seen")
        values = {name: getattr(session, name) for name in names}
        kept = {name: getattr(session, name) for name in KEPT}
        return values | {name: value for name, value in kept.items() if value is not None}


def _last_seen_interval() -> timedelta:
    """At most a tenth of the idle time-out, which is exact to that."""
    seconds: float = conf.SESSION_LAST_SEEN_SECONDS
    if conf.SESSION_IDLE_SECONDS:
        seconds = min(seconds, conf.SESSION_IDLE_SECONDS / 10)
    return timedelta(seconds=seconds)


def _update_unless_locked(rows: models.QuerySet[Any], key: str, values: dict[str, Any]) -> None:
    """Update the row `key`, if it is among the rows; where it is locked, do nothing or raise."""
    connection = connections[rows.db]
    if connection.vendor == "postgresql":
        table = connection.ops.quote_name(rows.model._meta.db_table)
        sql = f"SELECT session_key FROM {table} WHERE session_key = %s FOR UPDATE SKIP LOCKED"  # noqa: S608
        rows.filter(pk=RawSQL(sql, [key])).update(**values)  # noqa: S611
    elif connection.vendor == "sqlite":
        connection.ensure_connection()
        database = connection.connection  # not by Django's cursor: this is no query of the page
        (timeout,) = database.execute("PRAGMA busy_timeout").fetchone()
        database.execute("PRAGMA busy_timeout = 0").close()
        try:
            rows.filter(pk=key).update(**values)
        finally:
            database.execute(f"PRAGMA busy_timeout = {timeout}").close()
    else:
        rows.filter(pk=key).update(**values)
