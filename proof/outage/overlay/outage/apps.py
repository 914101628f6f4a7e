"""Names the server's process in the handshake of a socket, as pages do."""

import os
from functools import partialmethod

from django.apps import AppConfig


class OutageConfig(AppConfig):
    name = "outage"

    def ready(self) -> None:
        from accounts.consumers import EventsConsumer

        worker = [(b"x-worker", str(os.getpid()).encode())]
        EventsConsumer.accept = partialmethod(EventsConsumer.accept, headers=worker)
