"""What the site says of itself in production: one JSON object a line, on standard error.

Every line that a request causes has that request's id, which is also in the response's
`X-Request-ID` header: ask people for it, and search the log for it.
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
LIMIT = 1000  # characters of a message or of a field that a client writes

CONFIG: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "config.logs.JSONFormatter"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
    # `log_requests` does it, with the id and without the tokens that stand in addresses.
    "loggers": {
        "uvicorn.access": {"level": "WARNING"},
        "environ": {"level": "WARNING"},  # that there is no .env, as should be in production
    },
}


class JSONFormatter(logging.Formatter):
    """A record as a line of JSON: time, level, logger, message, request_id, exception, fields.

    `fields` are what a call gives as `extra={"fields": {...}}`. Django's own lines of a request
    name its address, and some come when the middleware is done with it.
    """

    def format(self, record: logging.LogRecord) -> str:
        message, request = record.getMessage(), getattr(record, "request", None)
        if isinstance(request, HttpRequest):
            for path in (request.path, request.path.encode("unicode_escape").decode("ascii")):
                message = message.replace(path, place_of(request))
        # What a client did wrong is no fault of the code, and would fill the disk.
        is_refusal = 400 <= getattr(record, "status_code", 0) < 500
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": message[:LIMIT],
            "request_id": request_id.get() or getattr(request, "log_id", None),
            "process": record.process,
            "exception": self.formatException(record.exc_info)
            if record.exc_info and not is_refusal
            else None,
            **getattr(record, "fields", {}),
        }
        present = {name: value for name, value in line.items() if value is not None}
        return json.dumps(present, ensure_ascii=False, default=str)


def place_of(request: HttpRequest) -> str:
    """Return the pattern of the address, not the address, in which a token may stand.

    Without a view, return the address without its long parts.
    """
    match = request.resolver_match
    place = f"/{match.route}" if match else re.sub(r"[^/]{32,}", "[hidden]", request.path)
    return place[:LIMIT]


def log_requests(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """A middleware that gives each request an id and writes a line when it is answered."""

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
