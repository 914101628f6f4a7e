"""`manage.py clearsessions`: run it daily, as compose.yaml does."""

from typing import Any

from django.contrib.sessions.management.commands import clearsessions

from accounts import throttle
from accounts.models import ResetRequest


class Command(clearsessions.Command):
    """Django's command, which also clears what the throttle wrote down and needs no more."""

    help = "Delete expired sessions, and records of logins that limit nobody any more."

    def handle(self, **options: Any) -> None:
        super().handle(**options)
        throttle.clear_expired()
        ResetRequest.clear_expired()
