"""Replaces `django.core.asgi` in a project's asgi.py."""

import django

from outlast.handler import ASGIHandler


def get_asgi_application() -> ASGIHandler:
    """Set Django up and return this library's handler, an ASGI application."""
    django.setup(set_prefix=False)
    return ASGIHandler()
