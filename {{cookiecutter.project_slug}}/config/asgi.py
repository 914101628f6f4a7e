"""The site for ASGI servers: pages and WebSockets."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup(set_prefix=False)

# Models need the setup above.
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from channels.security.websocket import WebsocketDenier  # noqa: E402
from django.urls import path, re_path  # noqa: E402
from outlast.handler import ASGIHandler  # noqa: E402

from accounts.consumers import EventsConsumer  # noqa: E402

application = ProtocolTypeRouter(
    {
        "http": ASGIHandler(),
        "websocket": URLRouter(
            [
                path("ws/events/", EventsConsumer.as_asgi()),
                re_path("", WebsocketDenier.as_asgi()),
            ]
        ),
    }
)
