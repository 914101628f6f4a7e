"""What the site answers while its relational database is stopped or locked."""

import sqlite3
import sys

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.template import loader
from django.views import defaults

RETRY_AFTER = 5  # seconds


def server_error(request: HttpRequest) -> HttpResponse:
    """The view of errors, `handler500`: 503 and when to come back, if it is the database.

    Here and not in a middleware, since only here errors of views and of middleware alike
    come by. Django's session middleware leaves the cookie alone where the status is 5xx.
    """
    if not is_outage(sys.exc_info()[1]):
        return defaults.server_error(request)
    page = loader.get_template("503.html").render()
    return HttpResponse(page, status=503, headers={"Retry-After": str(RETRY_AFTER)})


def is_outage(error: BaseException | None) -> bool:
    """Whether the database could not be asked, rather than being asked something wrong.

    SQLite's module calls both an OperationalError; a missing table is no outage.
    """
    code = getattr(error and error.__cause__, "sqlite_errorcode", None)
    return isinstance(error, OperationalError | InterfaceError) and code != sqlite3.SQLITE_ERROR
