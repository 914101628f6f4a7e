"""The sessions of the site: one model, always in the database, for all profiles."""

import uuid
from datetime import datetime, timedelta
from importlib import import_module
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.sessions.base_session import AbstractBaseSession, BaseSessionManager
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


def bounds() -> dict[str, datetime]:
    """The columns that keep a session alive, and the moment each has to lie after."""
    now = timezone.now()
    moments = {"expire_date": now}
    if settings.SESSION_IDLE_SECONDS:
        moments["last_seen"] = now - timedelta(seconds=settings.SESSION_IDLE_SECONDS)
    if settings.SESSION_ABSOLUTE_SECONDS:
        moments["created_at"] = now - timedelta(seconds=settings.SESSION_ABSOLUTE_SECONDS)
    return moments


class SessionQuerySet(models.QuerySet["Session"]):
    """Sessions that are alive, and the others; deleting a row ends the session."""

    def alive(self) -> "SessionQuerySet":
        return self.filter(_alive())

    def dead(self) -> "SessionQuerySet":
        return self.exclude(_alive())


def _alive() -> models.Q:
    return models.Q(**{f"{column}__gt": moment for column, moment in bounds().items()})


class Session(AbstractBaseSession):
    """A session, alive while its row is there and not too old: nothing else counts.

    Adds to Django's session what the page of open sessions shows, two time-outs, and a
    version, by which copies kept elsewhere are confirmed (outlast/sessions/redis.py).
    """

    version = models.CharField(_("version"), max_length=64, editable=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        null=True,
        related_name="sessions",
        verbose_name=_("user"),
    )
    public_id = models.UUIDField(
        _("public id"),
        default=uuid.uuid4,
        editable=False,
        help_text=_("Names the session in addresses, where the key must never be seen."),
    )
    created_at = models.DateTimeField(_("since"), default=timezone.now)
    last_seen = models.DateTimeField(_("last seen"), default=timezone.now)
    address = models.GenericIPAddressField(_("address"), null=True, unpack_ipv4=True)
    user_agent = models.CharField(_("browser"), max_length=300)

    objects: ClassVar = BaseSessionManager.from_queryset(SessionQuerySet)()

    def __str__(self) -> str:
        return str(self.public_id)

    def ends_at(self) -> datetime:
        """Return the moment from which on this session is dead, unless it is used before."""
        now = timezone.now()
        ends: list[datetime] = [
            getattr(self, column) + (now - moment) for column, moment in bounds().items()
        ]
        return min(ends)

    @classmethod
    def get_session_store_class(cls) -> Any:
        return import_module(settings.SESSION_ENGINE).SessionStore
