"""Read environment variables; explain values that cannot be read in one sentence."""

import codecs
import io
import re
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured

BOOLEANS = dict.fromkeys(("1", "true", "on", "yes", "y"), True) | dict.fromkeys(
    ("0", "false", "off", "no", "n", ""), False
)
# A name, a value with or without quotes, and an optional comment.
ASSIGNMENT = re.compile(
    r"""(?:export\s+)?(\w+)\s*=(?:\s*('[^']*'|"(?:[^"\\]|\\.)*")|(.*?))(?:\s+#.*)?"""
)

# Settings of a database that may follow the "?" and are no text.
SWITCHES = {
    "ATOMIC_REQUESTS",
    "CONN_HEALTH_CHECKS",
    "CONN_MAX_AGE",
    "DISABLE_SERVER_SIDE_CURSORS",
}


class Env(environ.FileAwareEnv):
    """django-environ's, but with the name of the variable in errors.

    Errors do not contain addresses, because these may contain a password.
    """

    def read_file(self, path: Path) -> None:
        """Read `.env` if it exists; variables in the environment take precedence.

        Lines are NAME=value, as Compose reads them: ` #` begins a comment outside quotes.
        """
        try:
            content = path.read_bytes() if path.exists() else b""
        except OSError as error:
            raise ImproperlyConfigured(f"{path.name} cannot be read: {error.strerror}.") from error
        utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        try:
            lines = content.decode("utf-16" if utf16 else "utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise ImproperlyConfigured(f"{path.name} must be saved as UTF-8.") from error
        for number, line in enumerate(map(str.strip, lines)):
            if found := ASSIGNMENT.fullmatch(line):
                lines[number] = f"{found[1]}={found[2] or found[3].strip()}"
            elif line and not line.startswith("#"):
                raise ImproperlyConfigured(
                    f"{path.name}, line {number + 1}, must have the form NAME=value."
                )
        environ.Env.read_env(io.StringIO("\n".join(lines)))

    def get_value(
        self,
        var: str,
        cast: Any = None,
        default: Any = environ.Env.NOTSET,
        parse_default: bool = False,
    ) -> Any:
        """Return the value as written; django-environ would expand one that begins with $."""
        try:
            value = self.ENVIRON[var].lstrip("\ufeff").rstrip("\r\n")  # of a file
        except KeyError:
            return super().get_value(var, cast, default, parse_default)
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", "it is not UTF-8")
            raise ImproperlyConfigured(
                f"{var}_FILE names {self.ENVIRON[f'{var}_FILE']}, which cannot be read: {reason}."
            ) from error
        kinds = {bool: "1 or 0", int: "a whole number"}
        try:
            if cast is bool:
                return BOOLEANS[value.strip().lower()]
            return self.parse_value(value, cast)  # type: ignore[no-untyped-call]
        except (KeyError, ValueError) as error:
            if cast not in kinds:
                raise
            raise ImproperlyConfigured(
                f"{var} is {value!r}, but must be {kinds[cast]}."
            ) from error

    def list(self, var: str, cast: Any = None, default: Any = environ.Env.NOTSET) -> Any:
        """Like django-environ's, without the spaces around commas."""
        return [item.strip() for item in super().list(var, cast, default) if item.strip()]

    def db_url(self, var: str = "DATABASE_URL", *args: Any, **options: Any) -> dict[str, Any]:
        """Like django-environ's; raises ImproperlyConfigured for an unusable address."""
        read: dict[str, Any] = {}
        # Without "://" django-environ warns, and repeats the value.
        with suppress(ValueError):
            if "://" in self.str(var, *args, **options):
                read = super().db_url(var, *args, **options)
        if "." not in read.get("ENGINE", ""):
            raise ImproperlyConfigured(
                f"{var} cannot be read: it must be postgres://user:password@host:port/name or "
                "sqlite:///path. In the password, / @ # ? must be written %2F %40 %23 %3F."
            )
        if read["ENGINE"].endswith("postgresql") and not find_spec("psycopg"):
            raise ImproperlyConfigured(
                f"{var} is a PostgreSQL database, which needs the package psycopg: run "
                "'uv add \"psycopg[binary]\"', or 'pip install \"psycopg[binary]\"'."
            )
        # django-environ reads ?conn_health_checks=false as the text "false", which is true.
        words = {"true": True, "false": False, "none": None}
        given = {name: str(value).lower() for name, value in read.items() if name in SWITCHES}
        return read | {name: words[text] for name, text in given.items() if text in words}

    def email_url(self, var: str = "EMAIL_URL", *args: Any, **options: Any) -> dict[str, Any]:
        """Like django-environ's; raises ImproperlyConfigured with examples of addresses."""
        try:
            read: dict[str, Any] = super().email_url(var, *args, **options)
        except (ValueError, ImproperlyConfigured) as error:
            raise ImproperlyConfigured(
                f"{var} cannot be read: it must be smtp+tls://user:password@host:587, or begin "
                "with smtp://, smtp+ssl:// or consolemail://."
            ) from error
        return read
