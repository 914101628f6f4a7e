"""The addresses of the site, and one for each error page."""

from config.urls import handler500, urlpatterns
from django.core.exceptions import PermissionDenied
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from django.urls import path

__all__ = ["handler500", "urlpatterns"]

ERRORS = {403: PermissionDenied, 500: RuntimeError, 503: OperationalError}


def fail(request: HttpRequest, status: int) -> HttpResponse:
    """Raise what makes the site answer with that status."""
    raise ERRORS[status]("on purpose")


urlpatterns = [*urlpatterns, path("broken/<int:status>/", fail)]
