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
# A proxy's own id is kept, if it is one; anything else could forge lines or fill the disk.
VALID_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")

CONFIG: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "config.logs.JSONFormatter"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
    # `log_requests` does it, with the id and without the tokens that stand in addresses.
    "loggers": {
        "uvicorn.access": {"level": "WARNING"},
        "axes": {"level": "WARNING"},  # a few lines for every login
        "environ": {"level": "WARNING"},  # that there is no .env, as should be in production
    },
}


class JSONFormatter(logging.Formatter):
    """A record as a line of JSON: time, level, logger, message, request_id, exception, fields.

    `fields` are what a call gives as `extra={"fields": {...}}`.
    """

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": request_id.get() or None,
            "process": record.process,
            "exception": self.formatException(record.exc_info) if record.exc_info else None,
            **getattr(record, "fields", {}),
        }
        present = {name: value for name, value in line.items() if value is not None}
        return json.dumps(present, ensure_ascii=False, default=str)


def log_requests(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """A middleware that gives each request an id and writes a line when it is answered.

    The line has the pattern of the address, not the address, in which a token to reset a
    password may stand.
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        given = request.headers.get("X-Request-ID", "")
        token = request_id.set(given if VALID_ID.fullmatch(given) else uuid.uuid4().hex)
        started = time.perf_counter()
        try:
            response = get_response(request)
            response["X-Request-ID"] = request_id.get()
            match = request.resolver_match
            fields = {
                "method": request.method,
                "path": f"/{match.route}" if match else request.path,
                "status": response.status_code,
                "milliseconds": round((time.perf_counter() - started) * 1000, 1),
                "address": request.META.get("REMOTE_ADDR") or None,
            }
            logger.info("%(method)s %(path)s %(status)s", fields, extra={"fields": fields})
            return response
        finally:
            request_id.reset(token)

    return middleware
