"""Mail with links: to reset a password, to sign up, to accept an invitation."""

import logging
import time
from importlib.util import find_spec
from threading import Thread
from typing import Any

from django.conf import settings
from django.contrib.auth.tokens import PasswordResetTokenGenerator
from django.core.mail import EmailMessage
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from accounts.fields import FoldedEmailField
from accounts.models import User

logger = logging.getLogger(__name__)


class LinkTokenGenerator(PasswordResetTokenGenerator):
    """Django's tokens, but invalid after the account was disabled, even if it is enabled again."""

    def _make_hash_value(self, user: Any, timestamp: int) -> str:
        return f"{super()._make_hash_value(user, timestamp)}{user.disabled_at}"


tokens = LinkTokenGenerator()


def build(kind: str, email: str) -> EmailMessage | None:
    """Return the mail, or None if this address gets none."""
    email = FoldedEmailField.fold(email)
    user, link = User.objects.filter(email=email).first(), reverse("login")
    if kind == "password_reset":
        if user is None or not user.is_active or not user.has_usable_password():
            return None
        link = _link("password_reset_confirm", user.pk, tokens.make_token(user))
    elif user is None or user.is_invited:
        token = tokens.make_token(user or User(email=email))
        link = _link("sign_up_confirm", email, token)
    else:
        kind = "sign_up_known"
    context = {
        "email": email,
        "link": settings.SITE_URL + link,
        "reset_link": settings.SITE_URL + reverse("password_reset"),
        "site_title": settings.SITE_TITLE,
        "minutes": settings.PASSWORD_RESET_TIMEOUT // 60,
    }
    text = render_to_string(f"accounts/mail/{kind}.txt", context)
    subject, _, body = text.partition("\n")
    return EmailMessage(subject, body.lstrip("\n"), to=[email])


def _link(name: str, uid: Any, token: str) -> str:
    return reverse(name, args=[urlsafe_base64_encode(force_bytes(uid)), token])


def send(kind: str, email: str) -> None:
    """Send a mail, with the worker if there is one; raise the errors of the mail server."""
    if has_worker():
        from accounts.mail_tasks import send_later

        send_later.enqueue(kind, email)
    elif message := build(kind, email):
        message.send()


def send_link(kind: str, email: str) -> None:
    """Send a mail in the same time whether or not there is an account, and log failures.

    Without a worker, the time is `MAIL_SECONDS`; if the mail server needs longer, a thread waits
    for it. With 0, as in tests, the mail is sent first.
    """
    if has_worker():
        return send(kind, email)
    end = time.monotonic() + settings.MAIL_SECONDS
    thread = Thread(target=_send_and_log, args=[build(kind, email)], name="mail")
    thread.start()
    thread.join(settings.MAIL_SECONDS or None)
    return time.sleep(max(0, end - time.monotonic()))


def _send_and_log(message: EmailMessage | None) -> None:
    try:
        if message:
            message.send()
    except Exception:  # the page must not reveal that there is an account
        logger.exception("Mail could not be sent")


def has_worker() -> bool:
    """Return whether Django's tasks (6.0) are configured to run outside of requests."""
    backend = getattr(settings, "TASKS", {}).get("default", {}).get("BACKEND", "ImmediateBackend")
    return find_spec("django.tasks") is not None and not backend.endswith("ImmediateBackend")
