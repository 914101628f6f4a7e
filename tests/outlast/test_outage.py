"""Which errors of a database mean that it is away."""

import sqlite3
from collections.abc import Callable

import psycopg
import pytest
from django.db import InterfaceError, OperationalError, ProgrammingError, connection, transaction
from django.db.utils import DatabaseErrorWrapper
from outlast.outage import is_outage


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
        (lambda: ProgrammingError("syntax error"), False),
        (lambda: ZeroDivisionError(), False),
        (lambda: None, False),
    ],
)
def test_other_errors(make: Callable[[], Exception | None], expected: bool) -> None:
    assert is_outage(make()) is expected
