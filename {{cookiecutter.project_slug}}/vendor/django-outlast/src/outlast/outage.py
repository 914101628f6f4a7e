"""The responses of the site while a service that it needs is unavailable.

The services are the database, and for a view that uses `caches["default"].strict`, Redis.
"""

import re
import sqlite3
import sys
import traceback
from typing import Any

from django.core.exceptions import DisallowedHost
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.template import loader
from django.utils.safestring import SafeString
from django.views import debug

from outlast import errors
from outlast.conf import conf
from outlast.health.errors import explain

RETRY_AFTER = 5  # seconds
# SQLSTATE classes of PostgreSQL: connection lost, out of resources, stopping or starting.
UNAVAILABLE = ("08", "53", "57P0", "58")


def server_error(request: HttpRequest) -> HttpResponse:
    """Return 503 with Retry-After if a service is unavailable; for `handler500`.

    A middleware would not see errors of other middleware. Django's session middleware does not
    change the cookie if the status is 5xx.
    """
    if not is_outage(sys.exc_info()[1]):
        return errors.server_error(request)
    page = loader.get_template("503.html").render()
    return HttpResponse(page, status=503, headers={"Retry-After": str(RETRY_AFTER)})


def is_outage(error: BaseException | None) -> bool:
    """Return whether a service could not be used; a failed statement is not an outage.

    Databases raise OperationalError for both: also for a missing table (SQLite), a deadlock
    or a statement that took too long (PostgreSQL).
    """
    if "redis" in sys.modules:  # otherwise, none of its errors can have been raised
        from redis import ConnectionError as Unreachable
        from redis import TimeoutError as TooLate

        from outlast.redis import Unavailable

        if isinstance(error, Unavailable | Unreachable | TooLate):
            return True
    if not isinstance(error, OperationalError | InterfaceError):
        return False
    cause = error.__cause__
    if getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR:
        return False
    state = getattr(cause, "sqlstate", None)
    return state is None or state.startswith(UNAVAILABLE)


class ExceptionReporter(debug.ExceptionReporter):
    """Django's error page for development; says what to do if a service is unavailable.

    Only changes the HTML page, and only for outages: it shows a sentence and the command that
    fixes the problem, with the traceback folded.
    """

    def __init__(self, request: Any, exc_type: Any, exc_value: Any, *args: Any, **kw: Any) -> None:
        if isinstance(exc_value, DisallowedHost) and conf.SITE_URL:
            host = request.META.get("HTTP_HOST", "")
            exc_value = DisallowedHost(
                f"This site is served at {conf.SITE_URL}, not at {host}. To open it there, "
                f"set SITE_URL={request.scheme}://{host} in .env and restart the server."
            )
        super().__init__(request, exc_type, exc_value, *args, **kw)

    def get_traceback_html(self) -> SafeString:
        if self.exc_value is None or not is_outage(self.exc_value):
            return super().get_traceback_html()
        sentence, *remedies = explain(self.exc_value)
        details = "".join(traceback.format_exception(self.exc_value))
        context = {"sentence": sentence, "remedies": remedies, "details": details}
        return SafeString(loader.get_template("debug_outage.html").render(context))


class ExceptionReporterFilter(debug.SafeExceptionReporterFilter):
    """Django's, which hides settings by their names; here also passwords in addresses.

    Error reports list all settings, in debug pages and in mail to the admins. Django does not
    hide the password in the LOCATION of a cache.
    """

    def cleanse_setting(self, key: Any, value: Any) -> Any:
        cleansed = super().cleanse_setting(key, value)
        if isinstance(cleansed, str):
            return re.sub(r"(://[^/\s:@]*:)[^/\s@]+@", rf"\1{self.cleansed_substitute}@", cleansed)
        return cleansed
