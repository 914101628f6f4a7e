"""The environment, with a sentence for each value that cannot be read."""

from contextlib import suppress
from importlib.util import find_spec
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured


class Env(environ.FileAwareEnv):
    """django-environ's, whose errors name no variable.

    No address is repeated in a sentence: it may hold a password.
    """

    def get_value(self, var: str, cast: Any = None, *args: Any, **options: Any) -> Any:
        """As django-environ; raises ImproperlyConfigured for a number or a file that is none."""
        try:
            return super().get_value(var, cast, *args, **options)
        except OSError as error:
            raise ImproperlyConfigured(
                f"{var}_FILE names {error.filename}, which cannot be read: {error.strerror}."
            ) from error
        except ValueError as error:
            if cast is not int:
                raise
            raise ImproperlyConfigured(
                f"{var} is {super().get_value(var)!r}, but must be a whole number."
            ) from error

    def db_url(
        self, var: str = "DATABASE_URL", default: Any = environ.Env.NOTSET, engine: Any = None
    ) -> dict[str, Any]:
        """As django-environ; raises ImproperlyConfigured for an address that cannot be used."""
        read: dict[str, Any] = {}
        if "://" in self.str(var, default):  # else it warns, and repeats the value
            with suppress(ValueError):
                read = super().db_url(var, default, engine)
        if "." not in read.get("ENGINE", ""):
            raise ImproperlyConfigured(
                f"{var} cannot be read: it must be postgres://user:password@host:port/name or "
                "sqlite:///path, and signs in the password such as / @ # ? must be written "
                "%2F %40 %23 %3F."
            )
        if read["ENGINE"].endswith("postgresql") and not find_spec("psycopg"):
            raise ImproperlyConfigured(
                f"{var} names a PostgreSQL, which needs the package psycopg: run 'uv pip install "
                "-r pyproject.toml --extra postgres', or 'pip install \".[postgres]\"'."
            )
        return read

    def email_url(self, var: str = "EMAIL_URL", *args: Any, **options: Any) -> dict[str, Any]:
        """As django-environ; raises ImproperlyConfigured with the addresses there are."""
        try:
            read: dict[str, Any] = super().email_url(var, *args, **options)
        except (ValueError, ImproperlyConfigured) as error:
            raise ImproperlyConfigured(
                f"{var} cannot be read: it must be smtp+tls://user:password@host:587, or begin "
                "with smtp://, smtp+ssl:// or consolemail://."
            ) from error
        return read
