"""Limit failed logins for all calls of `authenticate()` with a request.

Failures are counted per account in one table, so that the limits hold without a cache:
- `THROTTLE_PAIR_LIMIT` per account and client address in `THROTTLE_SECONDS`,
- `THROTTLE_ACCOUNT_LIMIT` per account in `THROTTLE_SECONDS`, `THROTTLE_DAY_LIMIT` in a day.
  Addresses from which the account has logged in before are exempt: no one can lock its owner out.
There is no limit per address alone, because many people can share one. Refused attempts do not
count, so waiting always helps. Unknown names have the same limits as accounts.
"""

import logging
from datetime import datetime, timedelta
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.signals import user_logged_in, user_login_failed
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.dispatch import receiver
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from accounts.fields import client_address, is_text
from accounts.models import Attempt, User

logger = logging.getLogger(__name__)
DAY = timedelta(days=1)


class Throttle:
    def __init__(self, name: str, address: str | None) -> None:
        self.name, self.address = Attempt.fold(name), address
        self.look()

    def look(self) -> None:
        """Read the failures, latest first, and whether the address is known: one query."""
        now, logins = timezone.now(), dict[str | None, datetime]()
        recent = Q(at__gt=now - DAY) | Q(kind="login", address=self.address)
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
            limits.append((anywhere, settings.THROTTLE_DAY_LIMIT, DAY))
        ends = [times[count - 1] + over for times, count, over in limits if len(times) >= count]
        return max((end for end in ends if end > timezone.now()), default=None)

    def record_failure(self) -> None:
        row = Attempt.objects.create(kind="failure", name=self.name, address=self.address)
        self.failures.insert(0, (row.at, self.address))

    def record_login(self) -> None:
        """Save the address, so that its failures no longer count, unless it is saved already."""
        others = [failure for failure in self.failures if failure[1] != self.address]
        if others != self.failures or not self.known or self.known < timezone.now() - DAY:
            row = Attempt.objects.create(kind="login", name=self.name, address=self.address)
            self.failures, self.known = others, row.at


class ThrottledBackend(ModelBackend):
    """ModelBackend with limits: one query before the password is hashed, one after."""

    @sensitive_variables("password")
    def authenticate(
        self, request: Any, username: Any = None, password: Any = None, **kwargs: Any
    ) -> User | None:
        """Return the user or None; raise PermissionDenied if the account has to wait."""
        name = username or kwargs.get(User.USERNAME_FIELD) or kwargs.get(User.EMAIL_FIELD)
        if not name or password is None or not is_text(f"{name}{password}"):
            return None  # cannot be an account
        if request is None:
            return super().authenticate(request, name, password)
        throttle = request.throttle = Throttle(str(name), client_address(request))
        if not throttle.until:
            user = super().authenticate(request, name, password)
            if user is None:
                return None  # `count_failure()` follows if no other backend accepts it either
            throttle.look()  # many guesses sent at the same time have all been allowed
            if not throttle.until:
                throttle.record_login()
                return user
        raise PermissionDenied

    async def aauthenticate(self, request: Any, *args: Any, **kwargs: Any) -> User | None:
        return await sync_to_async(self.authenticate)(request, *args, **kwargs)


@receiver(user_login_failed)
def count_failure(request: Any = None, **kwargs: Any) -> None:
    throttle = getattr(request, "throttle", None)
    if throttle and not throttle.until:  # a refused attempt does not count
        throttle.record_failure()
        if throttle.until:
            logger.warning("Too many failed logins", extra={"fields": {"from": throttle.address}})


@receiver(user_logged_in)
def remember_address(request: Any, user: User, **kwargs: Any) -> None:
    """Save the address of a login, also with another backend or a link."""
    name, throttle = Attempt.fold(user.get_username()), getattr(request, "throttle", None)
    address = client_address(request) if request else None  # a WebSocket's login has none
    if address and (throttle is None or throttle.name != name):
        throttle = Throttle(name, address)
    if throttle:
        throttle.record_login()
