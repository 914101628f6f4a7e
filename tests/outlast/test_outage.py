"""Which errors mean that a service is unavailable, and what error reports hide."""

import sqlite3
from collections.abc import Callable

import psycopg
import pytest
import redis
from django.db import InterfaceError, OperationalError, ProgrammingError, connection, transaction
from django.db.utils import DatabaseErrorWrapper
from outlast.outage import ExceptionReporterFilter, is_outage
from outlast.redis import Unavailable


class PostgreSQL:
    """What `DatabaseErrorWrapper` asks of a connection."""

    Database = psycopg
    errors_occurred = False


def raised(error: Exception) -> Exception | None:
    """Return what Django makes of an error of psycopg."""
    try:
        with DatabaseErrorWrapper(PostgreSQL()):
            raise error
    except Exception as wrapped:
        return wrapped


@pytest.mark.parametrize(
    "error",
    [
        psycopg.OperationalError("connection refused"),
        psycopg.OperationalError("server closed the connection unexpectedly"),
        psycopg.InterfaceError("connection already closed"),
        psycopg.errors.AdminShutdown(),
        psycopg.errors.CrashShutdown(),
        psycopg.errors.CannotConnectNow(),
        psycopg.errors.TooManyConnections(),
        psycopg.errors.DiskFull(),
        psycopg.errors.ConnectionFailure(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_the_server_is_away(error: Exception) -> None:
    assert is_outage(raised(error))


@pytest.mark.parametrize(
    "error",
    [
        psycopg.errors.QueryCanceled("canceling statement due to statement timeout"),
        psycopg.errors.DeadlockDetected(),
        psycopg.errors.SerializationFailure(),
        psycopg.errors.LockNotAvailable(),
        psycopg.errors.UndefinedTable(),
        psycopg.errors.UniqueViolation(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_statement_failed(error: Exception) -> None:
    assert not is_outage(raised(error))


@pytest.mark.django_db
def test_on_sqlite_a_missing_table_is_no_outage() -> None:
    with pytest.raises(OperationalError) as error, transaction.atomic():
        connection.cursor().execute("SELECT * FROM nowhere")
    assert isinstance(error.value.__cause__, sqlite3.OperationalError)
    assert not is_outage(error.value)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: OperationalError("database is locked"), True),
        (lambda: InterfaceError("connection already closed"), True),
        (lambda: redis.ConnectionError("refused"), True),
        (lambda: redis.TimeoutError("timed out"), True),
        (lambda: Unavailable("lost"), True),
        (lambda: redis.ResponseError("WRONGTYPE"), False),
        (lambda: ProgrammingError("syntax error"), False),
        (lambda: ZeroDivisionError(), False),
        (lambda: None, False),
    ],
)
def test_other_errors(make: Callable[[], Exception | None], expected: bool) -> None:
    assert is_outage(make()) is expected


def test_reports_hide_passwords_in_addresses() -> None:
    cleanse = ExceptionReporterFilter().cleanse_setting
    addresses = ["redis://:s3cret@h:1/0", "rediss://u:s3cret@h"]
    hidden = {"LOCATION": addresses[0], "CONFIG": {"hosts": addresses}}
    assert cleanse("CACHES", hidden) == {
        "LOCATION": "redis://:********************@h:1/0",
        "CONFIG": {"hosts": ["redis://:********************@h:1/0",
                             "rediss://u:********************@h"]},
    }  # fmt: skip
    assert cleanse("SITE_URL", "https://a.example:1/") == "https://a.example:1/"
