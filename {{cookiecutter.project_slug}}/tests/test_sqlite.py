"""SQLite under many writers, and under one that never ends."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from threading import Event, Thread

import pytest
from django.db import OperationalError, connections
from outlast.databases.sqlite3 import base

pytestmark = [pytest.mark.django_db, pytest.mark.any_profile]
SECONDS = 0.2  # the time-out of the connection


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "db.sqlite3"


@pytest.fixture
def database(path: Path) -> Iterator[base.DatabaseWrapper]:
    """The site's way to a database in a file with an empty table, whatever the site's own is."""
    options = {"timeout": SECONDS, "transaction_mode": "IMMEDIATE"}
    options["init_command"] = "PRAGMA journal_mode=WAL"
    settings = {"ENGINE": "outlast.databases.sqlite3", "NAME": path, "OPTIONS": options}
    wrapper = base.DatabaseWrapper(
        connections.configure_settings({"default": settings})["default"], "default"
    )
    with wrapper.cursor() as cursor:
        cursor.execute("CREATE TABLE written (number)")
    yield wrapper
    wrapper.close()


def write(database: base.DatabaseWrapper) -> None:
    with database.cursor() as cursor:
        cursor.execute("INSERT INTO written VALUES (1)")


def somebody(path: Path) -> "closing[sqlite3.Connection]":
    return closing(sqlite3.connect(path, isolation_level=None, timeout=60))


def begin(database: base.DatabaseWrapper) -> None:
    """Begin a transaction, as `transaction.atomic` does."""
    database.set_autocommit(False, force_begin_transaction_with_broken_autocommit=True)


@pytest.mark.parametrize("do", [write, begin])
def test_a_lock_that_never_ends_is_given_up_soon(
    do: Callable[[base.DatabaseWrapper], None], database: base.DatabaseWrapper, path: Path
) -> None:
    with somebody(path) as other:
        other.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        with pytest.raises(OperationalError, match="locked"):
            do(database)
        assert 2 * SECONDS <= time.monotonic() - started < 2 * SECONDS + 3
        other.execute("ROLLBACK")
    do(database)


def test_a_line_that_moves_is_stood_in(database: base.DatabaseWrapper, path: Path) -> None:
    over = Event()

    def hold_again_and_again() -> None:
        with somebody(path) as other:
            while not over.is_set():
                other.execute("BEGIN IMMEDIATE")
                other.execute("INSERT INTO written VALUES (0)")
                time.sleep(SECONDS / 4)
                other.execute("COMMIT")

    others = Thread(target=hold_again_and_again)
    end = Thread(target=lambda: (time.sleep(5 * SECONDS), over.set()))
    others.start()
    end.start()
    try:
        time.sleep(SECONDS / 4)
        for _ in range(5):
            write(database)
    finally:
        over.set()
        others.join()
        end.join()


def test_but_not_for_ever(
    database: base.DatabaseWrapper, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if others wrote all the time, and we never got in."""
    versions = iter(range(1000))
    monkeypatch.setattr(base.Cursor, "_data_version", lambda cursor: next(versions))
    monkeypatch.setattr(base.Cursor, "in_line_seconds", 4 * SECONDS)
    with somebody(path) as other:
        other.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        with pytest.raises(OperationalError, match="locked"):
            write(database)
        assert 4 * SECONDS <= time.monotonic() - started < 4 * SECONDS + 3


def test_without_waiting(
    database: base.DatabaseWrapper, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = iter(range(1000))
    monkeypatch.setattr(base.Cursor, "_data_version", lambda cursor: next(versions))
    with database.without_waiting(), database.cursor() as cursor:
        cursor.execute("PRAGMA busy_timeout")
        assert cursor.fetchone() == (50,)
        write(database)
    with somebody(path) as other:
        other.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        with pytest.raises(OperationalError, match="locked"), database.without_waiting():
            write(database)
        assert time.monotonic() - started < 3
    with database.cursor() as cursor:
        cursor.execute("PRAGMA busy_timeout")
        assert cursor.fetchone() == (SECONDS * 1000,)
    assert database.cursor_class is base.Cursor


def test_other_errors_are_raised_at_once(
    database: base.DatabaseWrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base.Cursor, "_data_version", lambda cursor: pytest.fail("tried again"))
    with database.cursor() as cursor, pytest.raises(OperationalError, match="no such table"):
        cursor.execute("SELECT * FROM nowhere")
