"""Who guesses passwords has to wait; nobody else does.

Three rules, kept by django-axes in the database, so that they hold whatever the cache
does. Within `AXES_COOLOFF_TIME` there may be

- `AXES_FAILURE_LIMIT` failures for one account from one address, then that pair waits;
- `THROTTLE_ACCOUNT_LIMIT` failures for one account from anywhere, then the account waits,
- except at addresses where its owner has logged in before: no stranger locks them out.

An address alone never waits: behind it may be a whole school. What is refused is not
counted, so that a wait ends however often somebody tries, and a name waits whether or
not there is an account of that name.
"""

from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address
from math import ceil
from typing import Any

from asgiref.sync import sync_to_async
from axes.backends import AxesBackend
from axes.handlers.database import AxesDatabaseHandler
from axes.helpers import get_client_username, get_cool_off
from axes.models import AccessAttempt, AccessLog
from django.conf import settings
from django.contrib.auth.backends import ModelBackend
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from accounts.fields import FoldedEmailField
from accounts.models import User

NAME_LENGTH = 255  # of the column in which Axes keeps names
HOME = timedelta(days=90)  # an account's address stays known for, after the last login there
NETWORK_BITS = 64  # of an IPv6 address; the rest is the customer's to choose from


class ThrottledRequest(HttpRequest):
    """A request, with what Axes notes in it."""

    axes_ip_address: str | None
    axes_attempt_time: datetime
    axes_credentials: dict[str, Any] | None


def client_address(request: HttpRequest) -> str | None:
    """Return the address that limits are counted by, None if the request has none.

    It is the connection's own, which uvicorn replaces with the header of a proxy only if
    it trusts that proxy (`FORWARDED_ALLOW_IPS`). A customer has 2**64 IPv6 addresses, so
    that of those the network counts.
    """
    return counted_address(request.META.get("REMOTE_ADDR", ""))


def counted_address(text: str) -> str | None:
    """Return an address, or of an IPv6 address its network; None for what is neither."""
    try:
        address = ip_address(text)
    except ValueError:  # a Unix socket, or a proxy that does not say
        return None
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(IPv6Address(int(address) >> NETWORK_BITS << NETWORK_BITS))


def client_name(request: HttpRequest, credentials: dict[str, Any] | None = None) -> str:
    """Return the name that somebody tries to log in with, in the spelling of accounts."""
    name = (credentials or request.POST).get(settings.AXES_USERNAME_FORM_FIELD)
    return FoldedEmailField.fold(str(name or ""))[:NAME_LENGTH]


class ThrottleHandler(AxesDatabaseHandler):
    """Adds the limit per account to Axes' database handler, which has one limit only.

    A login takes back the failures of that account at that address, as Axes does with
    these settings; those of strangers elsewhere keep counting (NIST SP 800-63B, 5.2.2).
    """

    def get_failures(
        self, request: ThrottledRequest, credentials: dict[str, Any] | None = None
    ) -> int:
        """Answer the one question Axes has, whether this reaches `AXES_FAILURE_LIMIT`."""
        return settings.AXES_FAILURE_LIMIT if self.locked_until(request, credentials) else 0

    def reset_attempts(
        self,
        *,
        ip_address: str | None = None,
        username: str | None = None,
        ip_or_username: bool = False,
    ) -> int:
        """Forget failures, for `axes_reset_username` and the like, however those are spelled."""
        return super().reset_attempts(
            ip_address=ip_address and (counted_address(ip_address) or ip_address),
            username=username and FoldedEmailField.fold(username),
            ip_or_username=ip_or_username,
        )

    def locked_until(
        self, request: ThrottledRequest, credentials: dict[str, Any] | None = None
    ) -> datetime | None:
        """Return when the request's name can log in from its address again, None if now."""
        name, address = get_client_username(request, credentials), request.axes_ip_address
        since = request.axes_attempt_time - cool_off()
        failures = AccessAttempt.objects.filter(username=name, attempt_time__gt=since)
        here = _locked_until(failures.filter(ip_address=address), settings.AXES_FAILURE_LIMIT)
        anywhere = _locked_until(failures, settings.THROTTLE_ACCOUNT_LIMIT)
        if anywhere and AccessLog.objects.filter(username=name, ip_address=address).exists():
            anywhere = None
        return max(filter(None, (here, anywhere)), default=None)


def _locked_until(failures: QuerySet[AccessAttempt], limit: int) -> datetime | None:
    """Return when fewer than `limit` failures are left, the oldest being forgotten first."""
    count = 0
    rows = failures.order_by("-attempt_time").values_list("attempt_time", "failures_since_start")
    for time, number in rows:
        count += number
        if count >= limit:
            return time + cool_off()
    return None


class ThrottledBackend(AxesBackend):
    """Django's ModelBackend as far as Axes allows it.

    Changes `AxesBackend.authenticate`, which asks Axes once and leaves the password to a
    further backend. Here Axes is asked again when the password is right: a thousand
    guesses sent at once have all passed the first question.
    """

    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        **kwargs: Any,
    ) -> User | None:
        """Return the user, None for a wrong password; raises PermissionDenied when locked."""
        super().authenticate(request, username, password, **kwargs)
        user = ModelBackend.authenticate(self, request, username, password, **kwargs)
        if user is not None:
            super().authenticate(request, username, password, **kwargs)
        return user

    async def aauthenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        **kwargs: Any,
    ) -> User | None:
        """As `authenticate`: ModelBackend's own would go round Axes."""
        return await sync_to_async(self.authenticate)(request, username, password, **kwargs)


def cool_off() -> timedelta:
    """Return how long failures count, however AXES_COOLOFF_TIME says it."""
    return get_cool_off() or timedelta()


def clear_expired() -> None:
    """Delete failures that are forgotten, and logins from addresses not used for long."""
    now = timezone.now()
    AccessAttempt.objects.filter(attempt_time__lte=now - cool_off()).delete()
    AccessLog.objects.filter(attempt_time__lte=now - HOME).delete()


def refuse(request: ThrottledRequest, *args: Any) -> HttpResponse:
    """Return the page that stands in for the view's when somebody has to wait."""
    until = ThrottleHandler().locked_until(request, request.axes_credentials)
    return wait_page(request, until or timezone.now())


def wait_page(request: HttpRequest, until: datetime) -> HttpResponse:
    """Return the page that says when to try again."""
    seconds = max(1, ceil((until - timezone.now()).total_seconds()))
    context = {"until": until, "minutes": ceil(seconds / 60)}
    response = render(request, "accounts/wait.html", context, status=429)
    response.headers["Retry-After"] = str(seconds)
    return response
