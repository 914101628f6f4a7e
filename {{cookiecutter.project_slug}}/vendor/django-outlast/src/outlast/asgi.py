"""For a project's asgi.py, in place of `django.core.asgi`."""

import django

from outlast.handler import ASGIHandler


def get_asgi_application() -> ASGIHandler:
    """Set Django up and return this library's handler, an ASGI application."""
    django.setup(set_prefix=False)
    return ASGIHandler()
