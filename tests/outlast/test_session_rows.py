"""What the page of open sessions shows: who opened a session, from where, last seen when."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import InterfaceError, OperationalError, connection
from django.test import Client
from django.utils import timezone
from outlast.models import Session
from session_helpers import PASSWORD, age, is_logged_in, row, saved, store

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("", None),
        ("unix:", None),
    ],
)
def test_address_and_browser_are_those_of_the_login(
    address: str, shown: str | None, user: User, client: Client
) -> None:
    client.post(
        "/login/",
        {"username": "ada", "password": PASSWORD},
        headers={"user-agent": "Lynx " * 100},
        REMOTE_ADDR=address,
    )
    client.get("/", headers={"user-agent": "Mosaic"}, REMOTE_ADDR="192.0.2.99")
    session = Session.objects.get()
    assert (session.address, session.user) == (shown, user)
    assert session.user_agent == ("Lynx " * 100)[:300]


def test_last_seen_is_written_now_and_then(client: Client, user: User, settings: Any) -> None:
    client.force_login(user)
    session = client.session
    for passed, written in ((290, False), (301, True)):
        age(session, last_seen=timedelta(seconds=passed))
        before = row(session)
        assert is_logged_in(client)
        after = row(session)
        assert (after.last_seen > before.last_seen) == written
        assert after.version == before.version
    settings.OUTLAST = {"SESSION_IDLE_SECONDS": 2000}  # of which a tenth is 200 s
    for passed, written in ((190, False), (201, True)):
        age(session, last_seen=timedelta(seconds=passed))
        assert is_logged_in(client)
        assert (row(session).last_seen > timezone.now() - timedelta(seconds=99)) == written


def test_the_engine_db_reads_the_data_with_the_row(
    use_engine: Callable[[str], None], django_assert_num_queries: Any
) -> None:
    use_engine("db")
    session = saved(fruit="apple")
    with django_assert_num_queries(1):
        assert store(session.session_key)["fruit"] == "apple"


def test_a_save_is_a_use_as_well() -> None:
    session = saved()
    age(session, last_seen=timedelta(days=1))
    session.save()
    assert row(session).last_seen > timezone.now() - timedelta(seconds=10)


def test_last_seen_is_not_asked_of_a_page_without_session(
    client: Client, user: User, django_assert_num_queries: Any
) -> None:
    client.force_login(user)
    age(client.session, last_seen=timedelta(days=1))
    client.logout()
    with django_assert_num_queries(0):
        client.get("/login/")


@pytest.mark.parametrize("error", [OperationalError("read only"), InterfaceError("closed")])
def test_a_page_is_shown_although_last_seen_cannot_be_written(
    error: Exception, client: Client, user: User, caplog: pytest.LogCaptureFixture
) -> None:
    client.force_login(user)
    age(client.session, last_seen=timedelta(days=1))

    def read_only(execute: Any, sql: str, *args: Any) -> Any:
        if sql.startswith("UPDATE"):
            raise error
        return execute(sql, *args)

    with connection.execute_wrapper(read_only), caplog.at_level("INFO"):
        assert is_logged_in(client)
    assert "last_seen of a session was not written" in caplog.text


def test_the_key_is_not_shown() -> None:
    session = saved()
    assert session.session_key not in str(row(session))
    assert str(row(session).public_id) == str(row(session))
