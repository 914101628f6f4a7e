"""When a session was opened, when the password was given, and when it was last seen."""

import sqlite3
import time
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from channels.auth import AuthMiddlewareStack
from django.conf import settings as django_settings
from django.contrib import auth
from django.contrib.auth.models import User
from django.db import DatabaseError, connection, transaction
from django.http import HttpRequest
from django.test import Client
from django.utils import timezone
from outlast.middleware import peek_user
from outlast.models import Session
from outlast.sessions import session_ended
from session_helpers import age, is_logged_in, loaded, row, store

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("engine")]
LONG_AGO = timedelta(days=2)


@pytest.fixture
def browser(user: User, client: Client) -> Client:
    """A browser that logged in two days ago; the session was opened an hour before."""
    client.force_login(user)
    age(client.session, created=LONG_AGO + timedelta(hours=1), authenticated=LONG_AGO)
    return client


def times(session_key: str | None) -> tuple[Any, ...]:
    found = Session.objects.get(pk=session_key)
    return found.created, found.authenticated, found.public_id, found.address, found.user_agent


def test_a_login_in_an_anonymous_session_keeps_when_it_was_opened(user: User) -> None:
    browser = Client()
    browser.get("/count/")
    age(browser.session, created=LONG_AGO)
    created, authenticated, public_id, *_ = times(browser.session.session_key)
    assert authenticated is None
    browser.force_login(user)
    after = times(browser.session.session_key)
    assert (after[0], after[2]) == (created, public_id)
    assert timezone.now() - after[1] < timedelta(seconds=10)


def test_cycle_key_keeps_times_and_public_id(browser: Client) -> None:
    session = browser.session
    before = times(session.session_key)
    session.cycle_key()
    assert times(session.session_key) == before
    session["fruit"] = "apple"
    session.save()
    assert times(session.session_key) == before


def test_a_session_whose_key_cannot_be_replaced_stays(
    browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> None:
        raise DatabaseError

    session = browser.session
    key = session.session_key
    monkeypatch.setattr(type(session), "_insert", fail)
    with pytest.raises(DatabaseError):
        session.cycle_key()
    assert is_logged_in(Client(), key)


def test_a_login_after_a_logout_in_one_request_keeps_nothing(browser: Client, user: User) -> None:
    request = HttpRequest()
    request.session = store(browser.session.session_key)
    before = times(request.session.session_key)
    assert request.session[auth.SESSION_KEY]
    auth.logout(request)
    auth.login(request, user)
    request.session.save()
    after = times(request.session.session_key)
    assert after[0] > before[0] and after[1] > before[1] and after[2] != before[2]


def test_a_new_secret_key_keeps_times_and_public_id(browser: Client, settings: Any) -> None:
    before, key = times(browser.session.session_key), browser.session.session_key
    ended: list[Any] = []

    def listen(session: Any, **kwargs: Any) -> None:
        ended.append(session)

    session_ended.connect(listen)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "a new one"  # noqa: S105
    assert is_logged_in(browser)
    session_ended.disconnect(listen)
    assert browser.cookies[django_settings.SESSION_COOKIE_NAME].value == key
    assert times(key) == before
    assert ended == []  # live connections go on
    settings.SECRET_KEY_FALLBACKS = []
    assert is_logged_in(browser)


def test_only_the_password_renews_authenticated(browser: Client, user: User) -> None:
    session = browser.session
    created, authenticated, *_ = times(session.session_key)
    session["fruit"] = "apple"
    session.save()
    assert times(session.session_key)[:2] == (created, authenticated)
    request = HttpRequest()
    request.session = store(session.session_key)
    auth.login(request, user)
    request.session.save()
    after = times(request.session.session_key)
    assert after[0] == created and after[1] > authenticated
    assert loaded(request.session.session_key)["fruit"] == "apple"


def test_the_absolute_timeout_counts_from_the_login(browser: Client, settings: Any) -> None:
    settings.OUTLAST = {"SESSION_ABSOLUTE_SECONDS": LONG_AGO.total_seconds() + 60}
    assert is_logged_in(browser)  # opened earlier
    settings.OUTLAST = {"SESSION_ABSOLUTE_SECONDS": LONG_AGO.total_seconds() - 60}
    assert Session.objects.expired().count() == 1 and not Session.objects.alive().exists()
    assert not is_logged_in(browser)


@pytest.mark.django_db(transaction=True)
def test_the_handshake_of_a_socket_writes_nothing(
    browser: Client, user: User, settings: Any, django_assert_num_queries: Any
) -> None:
    found = []

    async def consumer(scope: Any, receive: Any, send: Any) -> None:
        """Use the middleware that the documentation of Channels recommends."""
        found.append(scope["user"])

    key = browser.session.session_key
    before = Session.objects.values().get()
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "a new one"  # noqa: S105
    assert peek_user(store(key)) == user
    cookie = (b"cookie", f"{django_settings.SESSION_COOKIE_NAME}={key}".encode())
    scope = {"type": "websocket", "path": "/", "headers": [cookie]}
    async_to_sync(AuthMiddlewareStack(consumer))(scope, None, None)
    assert found == [user]
    assert Session.objects.values().get() == before
    User.objects.update(password="changed")  # noqa: S106
    assert peek_user(store(key)).is_anonymous
    assert Session.objects.values().get() == before


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="of SQLite")
def test_last_seen_waits_for_no_lock_on_sqlite(browser: Client) -> None:
    age(browser.session, last_seen=timedelta(hours=1))
    before = row(browser.session).last_seen
    path = connection.settings_dict["NAME"]
    other = sqlite3.connect(str(path), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    started = time.monotonic()
    assert is_logged_in(browser)
    assert time.monotonic() - started < 10  # and not the 20 s that a writer waits
    assert row(browser.session).last_seen == before
    other.execute("ROLLBACK")
    other.close()
    assert is_logged_in(browser)
    assert row(browser.session).last_seen > before
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA busy_timeout")
        assert cursor.fetchone()[0] >= 3000  # as before


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="of PostgreSQL")
@pytest.mark.parametrize(
    "lock",
    [
        "SELECT 1 FROM django_session FOR UPDATE",
        "LOCK TABLE django_session IN SHARE MODE",  # as CREATE INDEX
    ],
)
def test_last_seen_waits_for_no_lock_on_postgresql(browser: Client, lock: str) -> None:
    age(browser.session, last_seen=timedelta(hours=1))
    before = row(browser.session).last_seen
    with closing(connection.copy()) as other, transaction.atomic():
        other.set_autocommit(False)
        other.cursor().execute(lock)
        connection.cursor().execute("SET LOCAL lock_timeout = '10s'")
        started = time.monotonic()
        assert is_logged_in(browser)
        assert time.monotonic() - started < 5  # and not until the lock is released
    assert row(browser.session).last_seen == before
    assert is_logged_in(browser)
    assert row(browser.session).last_seen > before
