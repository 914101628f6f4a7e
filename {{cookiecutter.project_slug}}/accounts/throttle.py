"""Limit failed logins for all calls of `authenticate()` with a request.

Failures are counted per account in one table, so that the limits hold without a cache:
- `THROTTLE_PAIR_LIMIT` per account and client address in `THROTTLE_SECONDS`,
- `THROTTLE_ACCOUNT_LIMIT` per account in `THROTTLE_SECONDS`, `THROTTLE_DAY_LIMIT` in a day.
  Addresses from which the account has logged in before are exempt: no one can lock its owner out.
There is no limit per address alone, because many people can share one. Refused attempts do not
count, so every wait ends. Unknown names have the same limits as accounts.
"""

import logging
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.backends import BaseBackend, ModelBackend
from django.contrib.auth.signals import user_logged_in, user_login_failed
from django.core.exceptions import PermissionDenied
from django.db import connection, models
from django.dispatch import receiver
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables
from outlast.requests import client_address, is_text

from accounts.models import Attempt, User

logger = logging.getLogger(__name__)


class Throttle:
    def __init__(self, name: str, request: Any) -> None:
        self.name, self.address, self.failed = Attempt.fold(name), client_address(request), False
        self.look()

    def look(self) -> None:
        """Read the failures, latest first, and whether the address is known: one query."""
        now, logins = timezone.now(), dict[str | None, datetime]()
        recent = models.Q(at__gt=now - Attempt.DAY) | models.Q(kind="login", address=self.address)
        rows = Attempt.objects.filter(recent, name=self.name, at__gt=now - Attempt.KNOWN)
        self.failures: list[tuple[datetime, str | None]] = []
        for kind, at, address in rows.order_by("-at").values_list("kind", "at", "address"):
            if kind == "login":
                logins.setdefault(address, at)
            elif kind == "failure" and address not in logins:  # earlier ones do not count
                self.failures.append((at, address))
        self.known = logins.get(self.address) if self.address else None

    @property
    def until(self) -> datetime | None:
        """When the next attempt is allowed; None: now."""
        span = timedelta(seconds=settings.THROTTLE_SECONDS)
        anywhere = [at for at, _ in self.failures]
        here = [at for at, address in self.failures if address == self.address]
        limits = [(here, settings.THROTTLE_PAIR_LIMIT, span)]
        if not self.known:
            limits.append((anywhere, settings.THROTTLE_ACCOUNT_LIMIT, span))
            limits.append((anywhere, settings.THROTTLE_DAY_LIMIT, Attempt.DAY))
        ends = [times[count - 1] + over for times, count, over in limits if len(times) >= count]
        return max((end for end in ends if end > timezone.now()), default=None)

    def record_login(self) -> None:
        """Save the address, so that its failures no longer count, unless it is saved already."""
        others = [failure for failure in self.failures if failure[1] != self.address]
        if others != self.failures or not self.known or self.known < timezone.now() - Attempt.DAY:
            row = Attempt.objects.create(kind="login", name=self.name, address=self.address)
            self.failures, self.known = others, row.at


class ThrottledBackend(ModelBackend):
    """ModelBackend with limits: one query before the password is hashed, one after."""

    @sensitive_variables("password")
    def authenticate(
        self, request: Any, username: Any = None, password: Any = None, **kwargs: Any
    ) -> User | None:
        """Return the user or None; raise PermissionDenied if the account has to wait."""
        names = (username, kwargs.get(User.USERNAME_FIELD), *kwargs.values())  # or another's
        name = next((text for text in names if isinstance(text, str) and text.strip()), "")
        request = request if hasattr(request, "META") else None  # the scope of a WebSocket
        if request is not None:
            request.throttle = None  # of an earlier call
        if not name or password is None or not is_text(f"{name}{password}"):
            return None  # cannot be an account
        if request is None:
            return super().authenticate(request, username, password, **kwargs)
        throttle = request.throttle = Throttle(name, request)
        if not throttle.until:
            user = super().authenticate(request, username, password, **kwargs)
            if user is None:
                return None  # `count_failure()` follows if no other backend accepts it either
            throttle.look()  # many guesses sent at the same time have all been allowed
            if not throttle.until:
                throttle.record_login()
                return user
        raise PermissionDenied

    aauthenticate = BaseBackend.aauthenticate  # type: ignore[assignment]  # authenticate()


@receiver(user_login_failed)
def count_failure(request: Any = None, **kwargs: Any) -> None:
    throttle = getattr(request, "throttle", None)
    if throttle and not throttle.until:  # a refused attempt does not count
        row = Attempt(kind="failure", name=throttle.name, address=throttle.address)
        if connection.in_atomic_block:
            getattr(request, "uncommitted_failures", []).append(row)
        row.save()
        throttle.failed = True
        throttle.failures = [(row.at, row.address), *throttle.failures]
        if throttle.until:
            logger.warning("Too many failed logins", extra={"fields": {"from": throttle.address}})


@receiver(user_logged_in)
def remember_address(request: Any, user: User, **kwargs: Any) -> None:
    """Save the address of a login, also with another backend or a link."""
    name, throttle = Attempt.fold(user.get_username()), getattr(request, "throttle", None)
    if throttle and not throttle.failed:
        throttle.record_login()
    if request and (throttle is None or throttle.name != name):  # None: by a WebSocket
        Throttle(name, request).record_login()
