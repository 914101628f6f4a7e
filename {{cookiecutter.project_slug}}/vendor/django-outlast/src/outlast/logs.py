"""Logs in production: one JSON object per line, on standard error.

All lines of a request have its ID, which is also in the header `X-Request-ID` of the response.
"""

import json
import logging
import re
import time
import uuid
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from django.http import HttpRequest, HttpResponse

logger = logging.getLogger("site.requests")
request_id: ContextVar[str] = ContextVar("request_id", default="")
VALID_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")  # anything else could forge lines
# JSON leaves these line ends as they are: a URL could forge lines with them.
LINE_ENDS = {number: f"\\u{number:04x}" for number in (0x85, 0x2028, 0x2029)}
LIMIT = 1000  # characters of a message or of a field that a client writes

CONFIG: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "outlast.logs.JSONFormatter"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
}


class JSONFormatter(logging.Formatter):
    """Format a record as JSON: time, level, logger, message, request_id, exception, fields.

    `fields` come from `extra={"fields": {...}}`. Django's own lines about a request contain its
    URL, and some are logged after the middleware.
    """

    def format(self, record: logging.LogRecord) -> str:
        message, request = record.getMessage(), getattr(record, "request", None)
        if isinstance(request, HttpRequest):
            for path in (request.path, request.path.encode("unicode_escape").decode("ascii")):
                message = message.replace(path, place_of(request))
        # No traceback for errors of clients: they are not bugs, and would fill the disk.
        is_refusal = 400 <= getattr(record, "status_code", 0) < 500
        error = None if is_refusal else record.exc_info
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": message[:LIMIT],
            "request_id": request_id.get() or getattr(request, "log_id", None),
            "process": record.process,
            "exception": self.formatException(error) if error else None,
            **getattr(record, "fields", {}),
        }
        present = {name: value for name, value in line.items() if value is not None}
        return json.dumps(present, ensure_ascii=False, default=str).translate(LINE_ENDS)


def place_of(request: HttpRequest) -> str:
    """Return the URL pattern, or the URL without long parts: these may be tokens."""
    match = request.resolver_match
    place = f"/{match.route}" if match else re.sub(r"[^/]{32,}", "[hidden]", request.path)
    return place[:LIMIT]


def log_requests(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Return a middleware that gives each request an ID and logs its response."""

    def middleware(request: HttpRequest) -> HttpResponse:
        # uvicorn 0.54 sets the port of a client to 0 when a trusted proxy names the client.
        from_proxy = request.META.get("REMOTE_PORT") == 0
        given = request.headers.get("X-Request-ID", "") if from_proxy else ""
        token = request_id.set(given if VALID_ID.fullmatch(given) else uuid.uuid4().hex)
        vars(request)["log_id"] = request_id.get()
        started = time.perf_counter()
        try:
            response = get_response(request)
            response["X-Request-ID"] = request_id.get()
            fields = {
                "method": (request.method or "")[:20],
                "path": place_of(request),
                "status": response.status_code,
                "milliseconds": round((time.perf_counter() - started) * 1000, 1),
                "address": request.META.get("REMOTE_ADDR", "")[:45] or None,
            }
            logger.info("%(method)s %(path)s %(status)s", fields, extra={"fields": fields})
            return response
        finally:
            request_id.reset(token)

    return middleware
