# ruff: noqa: DJ001, columns are NULL in rows that Django's own engine inserts
"""The session model: Django's table `django_session` with columns that say who is logged in."""

import uuid
from datetime import datetime, timedelta
from importlib import import_module
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.contrib.sessions.base_session import AbstractBaseSession, BaseSessionManager
from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from outlast.conf import conf


class SessionQuerySet(models.QuerySet[Any]):
    """Sessions; deleting rows ends them."""

    def alive(self) -> "SessionQuerySet":
        return self.exclude(_expired())

    def expired(self) -> "SessionQuerySet":
        return self.filter(_expired())

    def update(self, **values: Any) -> int:
        if "session_data" in values:
            values.setdefault("version", None)
        return super().update(**values)


def _expired() -> models.Q:
    now = timezone.now()
    expired = models.Q(expire_date__lte=now)
    if conf.SESSION_IDLE_SECONDS:
        expired |= models.Q(last_seen__lte=now - timedelta(seconds=conf.SESSION_IDLE_SECONDS))
    if conf.SESSION_ABSOLUTE_SECONDS:
        start = now - timedelta(seconds=conf.SESSION_ABSOLUTE_SECONDS)
        expired |= models.Q(authenticated__lte=start)
        expired |= models.Q(authenticated=None, created__lte=start)
    return expired


class AbstractSession(AbstractBaseSession):
    """A base for session models, as `AbstractBaseSession` is for Django's engine.

    The engine writes `user`, `backend` and `auth_hash` from the session's data at each save.
    They are valid while `version` is not NULL. Other code that writes `session_data`, such as
    Django's own engine, leaves `version` NULL; then the data is decoded.
    """

    # No constraint: SQLite would have to copy the table to add one. The relation from the user
    # cannot be named in a lookup, because Django splits lookups at "__": staff could find out
    # session keys with filters in the admin's addresses.
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        null=True,
        db_constraint=False,
        related_name="hidden__sessions+",
        verbose_name=_("user"),
    )
    backend = models.TextField(_("authentication backend"), null=True, editable=False)
    auth_hash = models.TextField(_("authentication hash"), null=True, editable=False)
    version = models.CharField(_("version"), max_length=40, null=True, editable=False)
    public_id = models.UUIDField(
        _("public id"),
        null=True,
        db_index=True,
        editable=False,
        help_text=_("Identifies the session in addresses and messages, instead of its key."),
    )
    created = models.DateTimeField(_("created"), null=True)
    authenticated = models.DateTimeField(_("password given"), null=True)
    last_seen = models.DateTimeField(_("last seen"), null=True)
    address = models.GenericIPAddressField(_("address"), null=True, unpack_ipv4=True)
    user_agent = models.CharField(_("browser"), max_length=300, null=True)

    objects: ClassVar[Any] = BaseSessionManager.from_queryset(SessionQuerySet)()

    rotated = False  # its key was replaced: the session goes on
    _outlast_same: bool  # see outlast.sessions.note_change

    class Meta(AbstractBaseSession.Meta):
        abstract = True

    def __str__(self) -> str:
        return str(self.public_id)

    def get_decoded(self) -> dict[str, Any]:
        """Return the data, if necessary from its file."""
        from outlast.sessions import files  # imports this module

        data = files.read(self) if files.in_file(self) else None
        decode = self.get_session_store_class()().decode
        return dict(decode(self.session_data if data is None else data))

    def ends_at(self) -> datetime:
        """Return when the session expires if it is not used before."""
        ends = [self.expire_date]
        if conf.SESSION_IDLE_SECONDS and self.last_seen:
            ends.append(self.last_seen + timedelta(seconds=conf.SESSION_IDLE_SECONDS))
        if conf.SESSION_ABSOLUTE_SECONDS and (start := self.authenticated or self.created):
            ends.append(start + timedelta(seconds=conf.SESSION_ABSOLUTE_SECONDS))
        return min(ends)

    def identity(self) -> dict[str, Any]:
        """Return the user's part of Django's session data, from the columns."""
        user_id = None if self.user_id is None else str(self.user_id)
        found = {
            SESSION_KEY: user_id,
            BACKEND_SESSION_KEY: self.backend,
            HASH_SESSION_KEY: self.auth_hash,
        }
        return {key: value for key, value in found.items() if value is not None}

    def set_identity(self, data: dict[str, Any]) -> None:
        """Set the columns from a session's data, and a new version."""
        value = data.get(SESSION_KEY)
        try:
            self.user_id = None if value is None else get_user_model()._meta.pk.to_python(value)
        except ValidationError:
            self.user_id = None
        self.backend = data.get(BACKEND_SESSION_KEY)
        self.auth_hash = data.get(HASH_SESSION_KEY)
        self.version = uuid.uuid4().hex

    @classmethod
    def get_session_store_class(cls) -> Any:
        return import_module(settings.SESSION_ENGINE).SessionStore


class Session(AbstractSession):
    """A row of `django_session`. Django's own model of that table shows the same sessions."""

    class Meta(AbstractSession.Meta):
        managed = False  # the table is made by django.contrib.sessions, the columns by columns.py
        db_table = "django_session"
