"""Read environment variables; explain values that cannot be read in one sentence."""

import io
import re
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import environ
from django.core.exceptions import ImproperlyConfigured

BOOLEANS = dict.fromkeys(("1", "true", "on", "yes", "y"), True) | dict.fromkeys(
    ("0", "false", "off", "no", "n", ""), False
)
KINDS = {bool: "1 or 0", int: "a whole number"}
POSTGRES_ENGINES = ("postgresql", "postgis")  # the ends of their names
SQLITE = {
    # Allow readers and one writer at the same time. Not "transaction_mode": "IMMEDIATE", with
    # which a transaction that only reads blocks all others.
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    "timeout": 10,  # seconds that a writer waits for another one
}
POSTGRESQL = {
    "connect_timeout": 3,  # seconds, after which the answer is 503
    "tcp_user_timeout": 5000,  # milliseconds, for a server that no longer answers
    "keepalives_idle": 30,
}
# Options of a database that are not text.
SWITCHES = {
    "ATOMIC_REQUESTS",
    "CONN_HEALTH_CHECKS",
    "CONN_MAX_AGE",
    "DISABLE_SERVER_SIDE_CURSORS",
    "pool",
}
# A name, a value with or without quotes, and an optional comment.
ASSIGNMENT = re.compile(
    r"""(?:export\s+)?(\w+)\s*=(?:\s*('[^']*'|"(?:[^"\\]|\\.)*")|(.*?))(?:\s+#.*)?"""
)


class Env(environ.FileAwareEnv):
    """django-environ's, but errors name the variable, and never repeat an address.

    An address may contain a password.
    """

    def read_file(self, path: Path) -> None:
        """Read `.env` if it exists; variables in the environment take precedence.

        Lines are NAME=value, as Compose reads them: ` #` begins a comment outside quotes.
        """
        try:
            content = path.read_bytes() if path.exists() else b""
            utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
            text = content.decode("utf-16" if utf16 else "utf-8-sig")
        except OSError as error:
            raise ImproperlyConfigured(f"{path.name} cannot be read: {error.strerror}.") from error
        except UnicodeDecodeError as error:
            raise ImproperlyConfigured(f"{path.name} must be saved as UTF-8.") from error
        # PowerShell's >> appends UTF-16, whose zero bytes are left here.
        lines = text.replace("\0", "").splitlines()
        for number, line in enumerate(map(str.strip, lines)):
            if found := ASSIGNMENT.fullmatch(line):
                lines[number] = f"{found[1]}={found[2] or found[3].strip()}"
            elif line and not line.startswith("#"):
                raise ImproperlyConfigured(
                    f"{path.name}, line {number + 1}, must have the form NAME=value."
                )
        environ.Env.read_env(io.StringIO("\n".join(lines)))

    def get_value(self, var: str, cast: Any = None, *args: Any, **options: Any) -> Any:
        """Return the value as written; django-environ would expand one that begins with $."""
        try:
            value = self.ENVIRON[var].lstrip("\ufeff").rstrip("\r\n")  # from NAME_FILE
        except KeyError:
            return super().get_value(var, cast, *args, **options)
        except (OSError, UnicodeDecodeError) as error:
            path = self.ENVIRON[f"{var}_FILE"]
            reason = getattr(error, "strerror", "it is not UTF-8")
            text = f"{var}_FILE names {path}, which cannot be read: {reason}."
            raise ImproperlyConfigured(text) from None  # `error` contains a byte of the secret
        try:
            if cast is bool:
                return BOOLEANS[value.strip().lower()]
            return self.parse_value(value, cast)  # type: ignore[no-untyped-call]
        except (KeyError, ValueError) as error:
            text = f"{var} is {value!r}, but must be {KINDS.get(cast)}."
            raise (ImproperlyConfigured(text) if cast in KINDS else error) from error

    def int(self, var: str, default: Any = environ.Env.NOTSET, minimum: Any = 0) -> Any:
        """Like django-environ's, with a minimum."""
        if (value := super().int(var, default)) < minimum:
            raise ImproperlyConfigured(f"{var} is {value}, but must be at least {minimum}.")
        return value

    def list(self, *args: Any, **options: Any) -> Any:
        """Like django-environ's, without the spaces around commas."""
        return [item.strip() for item in super().list(*args, **options) if item.strip()]

    def db_url(self, var: str = "DATABASE_URL", *args: Any, **options: Any) -> dict[str, Any]:
        """Like django-environ's; raises ImproperlyConfigured for an unusable address."""
        read: dict[str, Any] = {}
        with suppress(ValueError):
            # Without "://" django-environ warns, and repeats the value.
            if "://" in self.str(var, *args, **options):
                read = super().db_url(var, *args, **options)
        engine = read.get("ENGINE", "")
        name = read.get("NAME") or read.get("OPTIONS", {}).get("service", "")
        # With "/" in the password, "@" is in the name, and part of the password in the host.
        if "." not in engine or not name or ("@" in name and not engine.endswith("sqlite3")):
            raise ImproperlyConfigured(
                f"{var} cannot be read: it must be postgres://user:password@host:port/name or "
                "sqlite:///path. In the password, / @ # ? must be written %2F %40 %23 %3F."
            )
        if read["ENGINE"].endswith(POSTGRES_ENGINES) and not find_spec("psycopg"):
            raise ImproperlyConfigured(
                f"{var} is a PostgreSQL database, which needs the package psycopg: run "
                "'uv add \"psycopg[binary]\"', or 'pip install \"psycopg[binary]\"'."
            )
        read["HOST"] = unquote(read.get("HOST", ""))  # of a socket: %2Frun%2Fpostgresql
        for options in (read, read.get("OPTIONS", {})):
            for name in SWITCHES & options.keys():
                text = str(options[name]).lower()  # Django would take "off" for true
                is_age, words = name == "CONN_MAX_AGE", BOOLEANS | {"none": None}
                if is_age and text.isdecimal():
                    options[name] = int(text)
                elif text in words and (text == "none" or not is_age):
                    options[name] = words[text]
                else:
                    raise ImproperlyConfigured(
                        f"{var} has {name.lower()}={text}, but switches must be 1 or 0, and "
                        "conn_max_age a number of seconds or None."
                    )
        return read

    def databases(self, default: str) -> dict[str, dict[str, Any]]:
        """Return Django's `DATABASES`; options in the addresses take precedence over ours."""
        # Page threads keep their connections, and replace those that the server has closed.
        database: dict[str, Any] = {"CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True}
        database |= self.db_url("DATABASE_URL", default=default)
        if database["ENGINE"].endswith("sqlite3"):
            database["OPTIONS"] = SQLITE | database.get("OPTIONS", {})
        elif database["ENGINE"].endswith(POSTGRES_ENGINES):
            # These cursors, which the admin uses, fail with PgBouncer in transaction mode.
            database.setdefault("DISABLE_SERVER_SIDE_CURSORS", True)
            database["OPTIONS"] = POSTGRESQL | database.get("OPTIONS", {})
            if database["OPTIONS"].get("pool"):
                database["CONN_MAX_AGE"] = 0  # the pool keeps the connections
        if "DATABASE_LISTEN_URL" not in self:
            return {"default": database}
        # For live messages, if DATABASE_URL is a connection pooler. In tests the test database.
        listen = self.db_url("DATABASE_LISTEN_URL") | {"TEST": {"MIRROR": "default"}}
        return {"default": database, "listen": listen}

    def mailer(self, var: str, default: str) -> dict[str, Any]:
        """Return an entry of Django's `MAILERS`, from an address."""
        try:
            read: dict[str, Any] = self.email_url(var, default)
        except (ValueError, ImproperlyConfigured) as error:
            raise ImproperlyConfigured(
                f"{var} cannot be read: it must be smtp+tls://user:password@host:587, or begin "
                "with smtp://, smtp+ssl:// or consolemail://."
            ) from error
        backend, options = read["EMAIL_BACKEND"], dict[str, Any]()
        if backend.endswith(".console.EmailBackend"):
            backend = "outlast.mail.ConsoleBackend"
        elif backend.endswith(".filebased.EmailBackend"):
            options = {"file_path": read["EMAIL_FILE_PATH"]}
        elif backend.endswith(".smtp.EmailBackend"):
            options = {
                "host": read["EMAIL_HOST"],
                "port": read["EMAIL_PORT"] or 25,
                "username": read["EMAIL_HOST_USER"] or "",
                "password": read["EMAIL_HOST_PASSWORD"] or "",
                "use_tls": read.get("EMAIL_USE_TLS", False),
                "use_ssl": read.get("EMAIL_USE_SSL", False),
                "timeout": 10,  # seconds; by default, Django waits forever
            }
        return {"BACKEND": backend, "OPTIONS": options}
