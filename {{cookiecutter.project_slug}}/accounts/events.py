"""Live events: what happens to an account, told to every open page of its owner.

Published after the commit, heard by consumers.py in whatever process a page's socket is.
Nothing is stored: who is not connected misses it, and finds the result on the next page.
"""

from typing import Any

from asgiref.sync import async_to_sync
from channels.layers import channel_layers
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.db import router, transaction
from django.db.models.signals import post_save
from django.dispatch import receiver
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _
from outlast.sessions import session_ended

from accounts.browsers import in_words


def group_of(user_id: Any) -> str:
    """The group of all sockets of a user."""
    return f"user.{user_id}"


def event(kind: str, text: str = "") -> dict[str, str]:
    """Return an event as pages get it: `type`, `time` (ISO 8601, UTC) and `text` to show."""
    return {"type": kind, "time": timezone.now().isoformat(), "text": text}


def publish(user_id: Any, kind: str, text: str = "") -> None:
    """Tell all pages of a user, once the transaction is committed. From synchronous code."""
    message = {"type": "account.event", "event": event(kind, text)}

    def send() -> None:  # not a partial: it has no name for Django's line in the log
        _send(user_id, message)

    transaction.on_commit(send, using=router.db_for_write(get_user_model()), robust=True)


def _send(user_id: Any, message: dict[str, Any]) -> None:
    async_to_sync(channel_layers["default"].group_send)(group_of(user_id), message)


@receiver(user_logged_in)
def tell_of_login(request: HttpRequest | None, user: Any, **kwargs: Any) -> None:
    publish(user.pk, "signed_in", _("Signed in from %s.") % browser_of(request))


@receiver(user_logged_out)
def tell_of_logout(request: HttpRequest | None, user: Any, **kwargs: Any) -> None:
    if user:
        publish(user.pk, "signed_out", _("Signed out of %s.") % browser_of(request))


@receiver(post_save, sender=settings.AUTH_USER_MODEL)
def tell_of_password(instance: Any, created: bool, **kwargs: Any) -> None:
    # `_password` is set by `set_password()`, and not where only the hash is renewed.
    if not created and instance._password is not None:
        publish(instance.pk, "password_changed", _("Password changed."))


@receiver(session_ended)
def tell_of_end(session: Any, **kwargs: Any) -> None:
    """Close the sockets of a session. Those of one that was too old have closed themselves."""
    if session.user_id is not None and session.ends_at() > timezone.now():
        message = {"type": "session.ended", "session": str(session.public_id)}
        _send(session.user_id, message)


def browser_of(request: HttpRequest | None) -> str:
    """The browser of a request in words; a login over a WebSocket has no request."""
    return in_words(request.META.get("HTTP_USER_AGENT", "") if request else "")
