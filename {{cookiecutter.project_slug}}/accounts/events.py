"""Live events about an account, sent to all open pages of its user."""

from typing import Any

from django.conf import settings
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.db.models.signals import post_save
from django.dispatch import receiver
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _
from outlast import browsers
from outlast.live import publish, send_to_user
from outlast.sessions import session_ended


# The types of events are those of 0.1, because scripts of sites use them.
@receiver(user_logged_in)
def announce_login(request: HttpRequest | None, user: Any, **kwargs: Any) -> None:
    publish(user.pk, "signed_in", _("Logged in from %s.") % browser_of(request))


@receiver(user_logged_out)
def announce_logout(request: HttpRequest | None, user: Any, **kwargs: Any) -> None:
    if user:
        publish(user.pk, "signed_out", _("Logged out of %s.") % browser_of(request))


@receiver(post_save, sender=settings.AUTH_USER_MODEL)
def announce_password(instance: Any, created: bool, **kwargs: Any) -> None:
    if not created and instance._password is not None:
        publish(instance.pk, "password_changed", _("Password changed."))


@receiver(session_ended)
def announce_end(session: Any, **kwargs: Any) -> None:
    """Close the WebSockets of a session; those of an expired one have closed themselves."""
    if session.user_id is not None and session.ends_at() > timezone.now():
        message = {"type": "session.ended", "session": str(session.public_id)}
        send_to_user(session.user_id, message)


def browser_of(request: HttpRequest | None) -> str:
    """Return the name of a request's browser; a login over a WebSocket has no request."""
    return browsers.describe(request.META.get("HTTP_USER_AGENT", "") if request else "")
