"""Mail while developing."""

from typing import Any

from django.core.mail import EmailMessage
from django.core.mail.backends import console


class ConsoleBackend(console.EmailBackend):
    """Prints mail as it is read.

    Django's backend prints mail as it travels: with long lines cut, in which the link to
    a new password leads nowhere.
    """

    def write_message(self, message: EmailMessage) -> Any:
        to = ", ".join(message.recipients())
        self.stream.write(f"\nTo: {to}\nSubject: {message.subject}\n\n{message.body}{'-' * 79}\n")
