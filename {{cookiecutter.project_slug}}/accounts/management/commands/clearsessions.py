"""`manage.py clearsessions`: run it daily, as compose.yaml does."""

from typing import Any

from django.contrib.sessions.management.commands import clearsessions

from accounts.models import Attempt


class Command(clearsessions.Command):
    """Django's command; also deletes attempts that no longer count."""

    help = "Deletes expired sessions, and attempts that no longer count towards a limit."

    def handle(self, **options: Any) -> None:
        super().handle(**options)
        Attempt.clear_expired()
