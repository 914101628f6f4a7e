"""The settings of this library: one dictionary, `OUTLAST`, in the project's settings.

    OUTLAST = {"PAGE_THREADS": 32, "SESSION_IDLE_SECONDS": 3600}

`DEFAULTS` declares them all. `manage.py check` refuses a name that is not declared here and a
value of another type.
"""

from difflib import get_close_matches
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error

DEFAULTS: dict[str, Any] = {
    # Threads of a process that serve pages, and so its connections to each database.
    "PAGE_THREADS": 8,
    # Prefixes of paths: POSTs to them use at most half of these threads; the others wait.
    "PAGE_QUEUED_PATHS": (),
    # Seconds after which PostgreSQL cancels a statement of a page; 0: never. Does not work with
    # a pooler such as PgBouncer in transaction mode: set the role's statement_timeout instead.
    "DATABASE_STATEMENT_SECONDS": 0,
    # Seconds without a request after which a session ends; 0: never.
    "SESSION_IDLE_SECONDS": 14 * 24 * 3600,
    # Seconds since the login after which a session ends; 0: never.
    "SESSION_ABSOLUTE_SECONDS": 30 * 24 * 3600,
    # `last_seen` of a session is written at most once in this many seconds.
    "SESSION_LAST_SEEN_SECONDS": 300,
    # The site's address. A check warns if a public site has DEBUG on; "": no check.
    "SITE_URL": "",
    # The name of the chosen backends in /readyz and doctor.
    "PROFILE": "",
    # Number of server processes; some channel layers only reach one.
    "WORKERS": 1,
    # Bytes of a message that a WebSocket accepts; a larger one closes it with code 1009.
    "WEBSOCKET_MAX_BYTES": 64 * 1024,
    # Live WebSockets per session and per user; one more closes the oldest with code 4429.
    # 0: no limit.
    "SOCKETS_PER_SESSION": 20,
    "SOCKETS_PER_USER": 100,
    # The bearer token of /metrics; "": /metrics is 404.
    "METRICS_TOKEN": "",
}


class Conf:
    """Read `OUTLAST` at each access, so that `override_settings` works in tests."""

    def __getattr__(self, name: str) -> Any:
        """Return the setting; raise AttributeError if `DEFAULTS` does not declare it."""
        try:
            default = DEFAULTS[name]
        except KeyError:
            raise AttributeError(f"django-outlast has no setting {name}.") from None
        return getattr(settings, "OUTLAST", {}).get(name, default)


conf = Conf()


def check_settings(**kwargs: Any) -> list[CheckMessage]:
    """Refuse names that are not declared and values of another type than the default's."""
    found: list[CheckMessage] = []
    for name, value in getattr(settings, "OUTLAST", {}).items():
        if name not in DEFAULTS:
            near = get_close_matches(name, DEFAULTS, 1)
            hint = f"Did you mean {near[0]}?" if near else f"The names are {', '.join(DEFAULTS)}."
            found.append(Error(f"OUTLAST has no setting {name}.", hint=hint, id="outlast.E010"))
        elif not isinstance(value, _types(DEFAULTS[name])):
            expected = type(DEFAULTS[name]).__name__
            message = f"OUTLAST[{name!r}] is {value!r}, but must be of type {expected}."
            found.append(Error(message, id="outlast.E011"))
    return found


def _types(default: object) -> type | tuple[type, ...]:
    return (int, float) if isinstance(default, (int, float)) else type(default)
