"""`manage.py clearsessions`, for a site without the app `django.contrib.sessions`."""

from django.contrib.sessions.management.commands.clearsessions import Command

__all__ = ["Command"]
