"""The site for ASGI servers: pages and WebSockets."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup(set_prefix=False)

from apps.backends.handler import ASGIHandler  # noqa: E402 (models need the setup above)

application = ASGIHandler()
