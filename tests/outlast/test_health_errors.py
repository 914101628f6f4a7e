"""The table of errors: it recognises what it lists, and shows no password."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, connection
from django.db.backends.sqlite3.base import DatabaseWrapper
from outlast.health import probes
from outlast.health.errors import TABLE, Service, explain
from outlast.health.runner import Problem
from redis.exceptions import AuthenticationError
from troubleshooting import SITE, write_page

PAGE = SITE / "docs" / "troubleshooting.md"
Use = Callable[..., None]


# --- The table ---


def test_mysql_is_not_called_postgresql(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    database = {"ENGINE": "django.db.backends.mysql", "HOST": "db", "PORT": "", "NAME": "site"}
    monkeypatch.setitem(settings.DATABASES, "default", database)
    found = explain(OperationalError("Connection refused"))
    assert found == (
        "MySQL at db:3306/site reports an error: OperationalError: Connection refused.",
    )


@pytest.mark.parametrize("kind", ["redis", "database"])
def test_the_table_recognises_what_it_lists(kind: str) -> None:
    for entry in TABLE[kind]:
        host = "" if entry.get("loopback") else "elsewhere.test"
        service = Service(kind, "Server", "there", host)
        for text in entry["texts"]:
            found = service.explain(OperationalError(text))[0]
            expected = entry["sentence"].format(who="Server", at="there", it="Server at there")
            assert found == expected[0].upper() + expected[1:], text


def test_the_page_is_made_from_the_table(tmp_path: Path) -> None:
    copy = tmp_path / "page.md"
    copy.write_text(PAGE.read_text("utf-8"), "utf-8")
    write_page(copy)
    written = copy.read_text("utf-8")
    assert all(entry["title"] in written for entry in TABLE["redis"] + TABLE["database"])
    assert written == PAGE.read_text("utf-8"), "Run: python tests/outlast/troubleshooting.py FILE"


def test_a_password_in_an_error_is_hidden_but_does_not_hide_the_error(
    use_cache: Callable[..., None], settings: Any
) -> None:
    use_cache("redis://:password@127.0.0.1:6379/0")
    error = AuthenticationError("invalid username-password pair or user is disabled.")
    assert "refuses the username or the password" in explain(error)[0]
    settings.DATABASES["default"]["PASSWORD"] = "s3cr{t@"  # noqa: S105
    try:
        (sentence,) = explain(OperationalError("odd: s3cr{t@ and s3cr%7Bt%40 {0}"))
    finally:
        del settings.DATABASES["default"]["PASSWORD"]
    assert sentence.endswith("reports an error: OperationalError: odd: *** and *** {0}.")


@pytest.mark.parametrize(
    ("system", "ways"),
    [
        ("Windows", ["Docker Desktop", "WSL 2", "Memurai", "DJANGO_PROFILE=database"]),
        ("Darwin", ["manage.py devredis", "brew install valkey", "DJANGO_PROFILE=database"]),
        ("Linux", ["manage.py devredis", "Permanently: ", "DJANGO_PROFILE=database"]),
    ],
)
def test_how_to_start_one_on_this_system(
    system: str, ways: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.system", lambda: system)
    service = Service("redis", "Redis", "localhost:6390", "localhost", 6390, "REDIS_URL")
    refused = ConnectionError("Error 10061 connecting to localhost:6390.")
    _, *remedies = service.explain(refused)
    assert len(remedies) == len(ways)
    assert all(way in remedy for way, remedy in zip(ways, remedies, strict=True))
    assert ("-p 127.0.0.1:6390:6379" in remedies[0]) == (system == "Windows")
    elsewhere = Service("redis", "Redis", "redis.test:6379", "redis.test", 6379, "REDIS_URL")
    assert "Check that it runs on redis.test" in elsewhere.explain(refused)[1]


def test_other_errors() -> None:
    assert explain(ImproperlyConfigured("Wrong."))[0] == "Wrong."
    assert "cannot be written: File exists" in explain(FileExistsError(17, "File exists", "/x"))[0]
    assert explain(KeyError("odd"))[0] == "KeyError: 'odd'."


# --- SQLite ---


@pytest.mark.django_db  # permits connections, none of which is to the test database
def test_sqlite(tmp_path: Path, settings: Any) -> None:
    config = settings.DATABASES["default"] | {"NAME": tmp_path / "new.sqlite3"}
    database = DatabaseWrapper({**connection.settings_dict, **config, "OPTIONS": {"timeout": 0.1}})
    with pytest.raises(OperationalError) as missing:
        database.cursor().execute("SELECT * FROM accounts_user")
    assert explain(missing.value) == (
        "Tables or columns are missing in the database.",
        "Create them: python manage.py migrate",
    )
    with closing(sqlite3.connect(tmp_path / "new.sqlite3", isolation_level=None)) as writer:
        writer.execute("CREATE TABLE busy (n)")
        writer.execute("BEGIN EXCLUSIVE")
        database.close()
        with pytest.raises(OperationalError) as locked:
            database.cursor().execute("INSERT INTO busy VALUES (1)")
    assert explain(locked.value)[0].startswith("Another process has locked SQLite at ")
    database.close()
    database.settings_dict["NAME"] = tmp_path / "nowhere" / "new.sqlite3"
    with pytest.raises(OperationalError) as no_folder:
        database.cursor()
    assert "its folder does not exist" in explain(no_folder.value)[0]


def test_an_engine_that_loses_sessions(settings: Any) -> None:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"
    with pytest.raises(Problem, match="A session that was just written is missing") as error:
        probes.session_round_trip()
    assert settings.SESSION_ENGINE in error.value.remedies[0]
