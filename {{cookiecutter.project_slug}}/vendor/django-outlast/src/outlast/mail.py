"""Print mail to the console in development."""

from typing import Any

from django.core.mail import EmailMessage
from django.core.mail.backends import console


class ConsoleBackend(console.EmailBackend):
    """Prints mail decoded, as a mail program shows it.

    Django's backend prints encoded mail, with long lines cut, so that links do not work.
    """

    def write_message(self, message: EmailMessage) -> Any:
        to = ", ".join(message.recipients())
        self.stream.write(f"\nTo: {to}\nSubject: {message.subject}\n\n{message.body}{'-' * 79}\n")
