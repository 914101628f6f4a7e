"""The settings of this library: one dictionary, `OUTLAST`, in the project's settings.

    OUTLAST = {"PAGE_THREADS": 32, "SESSION_IDLE_SECONDS": 3600}

`DEFAULTS` declares them all; README.md explains them. `manage.py check` refuses a name that is not
declared here and a value of another type.
"""

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error

# Devices that no page may use.
FEATURES = ("camera", "display-capture", "geolocation", "microphone", "payment", "usb")
DEFAULTS: dict[str, Any] = {
    "PAGE_THREADS": 8,
    "PAGE_QUEUED_PATHS": (),
    "DATABASE_STATEMENT_SECONDS": 0,
    "SESSION_IDLE_SECONDS": 14 * 24 * 3600,
    "SESSION_ABSOLUTE_SECONDS": 30 * 24 * 3600,
    "SESSION_LAST_SEEN_SECONDS": 300,
    "SITE_URL": "",
    "SITE_HOSTS": (),
    "PROFILE": "",
    "WORKERS": 1,
    "WEBSOCKET_MAX_BYTES": 64 * 1024,
    "SOCKETS_PER_SESSION": 20,
    "SOCKETS_PER_USER": 100,
    "METRICS_TOKEN": "",
    "PERMISSIONS_POLICY": ", ".join(f"{feature}=()" for feature in FEATURES),
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


def check_settings(**kwargs: Any) -> Iterator[CheckMessage]:
    """Refuse names that are not declared and values of another type than the default's."""
    for name, value in getattr(settings, "OUTLAST", {}).items():
        if name not in DEFAULTS:
            near = get_close_matches(name, DEFAULTS, 1)
            hint = f"Did you mean {near[0]}?" if near else f"The names are {', '.join(DEFAULTS)}."
            yield Error(f"OUTLAST has no setting {name}.", hint=hint, id="outlast.E010")
            continue
        expected = type(DEFAULTS[name])
        if not isinstance(value, (int, float) if expected is int else expected):
            message = f"OUTLAST[{name!r}] is {value!r}, but must be of type {expected.__name__}."
            yield Error(message, id="outlast.E011")
