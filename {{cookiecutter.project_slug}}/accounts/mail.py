"""Mail with links: to a new password, to a new account, to an account by invitation."""

import logging
import time
from importlib.util import find_spec
from threading import Thread
from typing import Any

from django.conf import settings
from django.contrib.auth.tokens import PasswordResetTokenGenerator
from django.core.mail import EmailMessage
from django.core.mail.backends import console
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from accounts.models import User

logger = logging.getLogger(__name__)


class LinkTokenGenerator(PasswordResetTokenGenerator):
    """Django's tokens, which do nothing after the account was disabled, if only for a while."""

    def _make_hash_value(self, user: Any, timestamp: int) -> str:
        return f"{super()._make_hash_value(user, timestamp)}{user.disabled_at}"


tokens = LinkTokenGenerator()


def build(kind: str, email: str) -> EmailMessage | None:
    """Return the mail that was asked for; None if this address gets none."""
    user, link = User.objects.filter(email=email).first(), reverse("login")
    if kind == "password_reset":
        if user is None or not user.is_active or not user.has_usable_password():
            return None
        link = _link("password_reset_confirm", user.pk, tokens.make_token(user))
    elif user is None or (user.is_active and not user.has_usable_password()):
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
    """Send a mail, by the worker if there is one; raise what the mail server raises."""
    if has_worker():
        from accounts.tasks import send_later

        send_later.enqueue(kind, email)
    elif message := build(kind, email):
        message.send()


def send_link(kind: str, email: str) -> None:
    """Send a mail in the same time whether or not there is an account, and log failures.

    Without a worker that is `MAIL_SECONDS`; a thread waits for a mail server that needs longer.
    With 0, as in tests, the mail is sent first.
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
    except Exception:  # the page stays the same, or it would tell that there is an account
        logger.exception("Mail could not be sent")


def has_worker() -> bool:
    """Return whether Django's tasks (6.0) are configured to run outside of requests."""
    backend = getattr(settings, "TASKS", {}).get("default", {}).get("BACKEND", "ImmediateBackend")
    return find_spec("django.tasks") is not None and not backend.endswith("ImmediateBackend")


class ConsoleBackend(console.EmailBackend):
    """Prints mail as it is read.

    Django's backend prints mail as it travels: with long lines cut, in which the link to
    a new password leads nowhere.
    """

    def write_message(self, message: EmailMessage) -> Any:
        to = ", ".join(message.recipients())
        self.stream.write(f"\nTo: {to}\nSubject: {message.subject}\n\n{message.body}{'-' * 79}\n")
