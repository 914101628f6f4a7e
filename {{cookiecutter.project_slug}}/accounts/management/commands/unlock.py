"""`manage.py unlock EMAIL`: let an account log in at once after too many failed logins."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from accounts.models import Attempt


class Command(BaseCommand):
    help = "Unlocks an account after too many failed logins."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("email", help="the email address of the account, in any spelling")

    def handle(self, email: str, **options: Any) -> None:
        count = Attempt.forget_failures(email)
        self.stdout.write(f"Deleted {count} failed logins of {Attempt.fold(email)}.")
