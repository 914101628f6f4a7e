"""Limits on failed logins: an attacker has to wait, other people do not, and every wait ends."""

import re
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import aauthenticate, authenticate
from django.contrib.auth.hashers import MD5PasswordHasher
from django.contrib.auth.signals import user_logged_in
from django.core.management import call_command
from django.db import connection
from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from outlast.requests import client_address

from accounts.models import Attempt, User
from tests.conftest import PASSWORD

pytestmark = [pytest.mark.django_db, pytest.mark.any_profile]

HERE, ELSEWHERE, WRONG = "192.0.2.1", "198.51.100.7", "wrong"


@pytest.fixture(autouse=True)
def _limits(settings: Any) -> None:
    settings.THROTTLE_PAIR_LIMIT = 3
    settings.THROTTLE_ACCOUNT_LIMIT = 7
    settings.THROTTLE_DAY_LIMIT = 12


def try_to_log_in(
    client: Client, password: str = WRONG, address: str = HERE, name: str = "ada@example.com"
) -> HttpResponse:
    client.logout()
    form = {"username": name, "password": password}
    return client.post("/accounts/login/", form, REMOTE_ADDR=address)


def log_in(client: Client, *args: Any, **kwargs: Any) -> int:
    return try_to_log_in(client, *args, **kwargs).status_code


def guess(client: Client, times: int, **how: Any) -> int:
    """Return the status of the last guess."""
    return [log_in(client, **how) for _ in range(times)][-1]


def age(**by: int) -> None:
    """Let time pass for the recorded attempts."""
    for attempt in Attempt.objects.all():
        Attempt.objects.filter(pk=attempt.pk).update(at=attempt.at - timedelta(**by))


def test_a_guesser_waits_and_is_told_how_long(user: User, https: Client, caplog: Any) -> None:
    Attempt.admit_mail(user.email, HERE)  # is no failure
    assert guess(https, 2) == 200
    assert "Too many failed logins" not in caplog.text
    response = try_to_log_in(https)
    assert response.status_code == 429
    assert caplog.text.count("Too many failed logins") == 1
    assert 14 * 60 < int(response.headers["Retry-After"]) <= 15 * 60
    assert b"in 15 minutes" in response.content
    # Also with the right password, in the admin, and with another spelling of the address.
    assert log_in(https, PASSWORD) == log_in(https, PASSWORD, name=" ADA@Example.com") == 429
    form = {"username": "ada@example.com", "password": PASSWORD}
    assert https.post("/admin/login/", form, REMOTE_ADDR=HERE).status_code == 429
    # Only this account, and only here.
    User.objects.create_user("grace@example.com", PASSWORD)
    assert log_in(https, PASSWORD, name="grace@example.com") == 302
    assert log_in(https, PASSWORD, ELSEWHERE) == 302
    call_command("unlock", "Ada@Example.com")
    assert log_in(https, PASSWORD) == 302


def test_guesses_at_the_same_time_are_limited(user: User, https: Client) -> None:
    def check_password(*args: Any) -> bool:
        for _ in range(3):  # the others, while this one is hashed
            Attempt.objects.create(kind="failure", name=user.email, address=HERE)
        return True

    with patch.object(User, "check_password", check_password):
        assert log_in(https, PASSWORD) == 429
    assert not Attempt.objects.filter(kind="login").exists()


def test_attempts_do_not_extend_the_wait(user: User, https: Client) -> None:
    """It ends when the oldest failure is fifteen minutes old."""
    for _ in range(3):
        log_in(https)
        age(minutes=4)
    assert guess(https, 20) == 429
    assert 2 * 60 < int(try_to_log_in(https).headers["Retry-After"]) <= 3 * 60 + 1
    age(minutes=3, seconds=1)
    assert log_in(https, PASSWORD) == 302


def test_many_addresses_lock_the_account_but_not_at_home(user: User, https: Client) -> None:
    Attempt.admit_mail(user.email, HERE)  # is no login
    for number in range(7):
        log_in(https, address=f"203.0.113.{number}")
    assert log_in(https, PASSWORD) == 429
    age(minutes=15, seconds=1)
    assert log_in(https, PASSWORD) == 302
    for number in range(7):
        log_in(https, address=f"203.0.113.{number}")
    assert log_in(https, PASSWORD, ELSEWHERE) == 429
    assert log_in(https, PASSWORD) == 302
    assert guess(https, 3) == 429, "a known address has a limit, too"


def test_guesses_in_a_day_are_bounded_but_not_at_home(user: User, https: Client) -> None:
    assert log_in(https, PASSWORD) == 302
    for number in range(12):
        assert log_in(https, address=f"203.0.113.{number}") in (200, 429)
        age(minutes=16)
    response = try_to_log_in(https, PASSWORD, ELSEWHERE)
    assert response.status_code == 429
    assert int(response.headers["Retry-After"]) > 20 * 3600
    assert log_in(https, PASSWORD) == 302
    age(days=1)
    assert log_in(https, PASSWORD, ELSEWHERE) == 302


def test_a_login_forgives_failures_at_its_address_only(user: User, https: Client) -> None:
    guess(https, 2, address=ELSEWHERE)
    for _ in range(2):  # the second time, the address is known
        guess(https, 2)
        assert log_in(https, PASSWORD) == 302
    assert guess(https, 2) == 200
    assert log_in(https, address=ELSEWHERE) == 429


@pytest.mark.parametrize("password", [WRONG, PASSWORD])
def test_all_accounts_get_the_same_response(user: User, https: Client, password: str) -> None:
    """After the same work: queries and hashes are counted."""
    User.objects.create_user("gone@example.com", PASSWORD, is_active=False)
    User.objects.create_user("none@example.com", None)
    names = ["stranger@example.com", "gone@example.com", "none@example.com"]
    if password == WRONG:
        names.append(user.email)
    first, *others = ([work_of(https, name, password) for _ in range(4)] for name in names)
    assert [status for status, *_ in first] == [200, 200, 429, 429]
    assert [hashes for *_, hashes in first] == [1, 1, 1, 0]
    assert all(other == first for other in others)


def work_of(client: Client, name: str, password: str) -> tuple[int, str, int, int]:
    """Try to log in; return status, page, number of queries, number of hashes."""
    encode = MD5PasswordHasher.encode
    with (
        CaptureQueriesContext(connection) as queries,
        patch.object(MD5PasswordHasher, "encode", autospec=True, side_effect=encode) as hashes,
    ):
        response = try_to_log_in(client, password, HERE, name)
    varying = r'name="csrfmiddlewaretoken" value="\w+"|<time.*?</time>'
    page = re.sub(varying, "", response.content.decode())
    return response.status_code, page.replace(name, ""), len(queries), hashes.call_count


@pytest.mark.parametrize(
    ("remote", "counted"),
    [
        (HERE, HERE),
        (f"::ffff:{HERE}", HERE),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("", None),
    ],
)
def test_the_address_that_counts(
    user: User, https: Client, rf: RequestFactory, remote: str, counted: str | None
) -> None:
    request = rf.get("/", REMOTE_ADDR=remote, HTTP_X_FORWARDED_FOR="203.0.113.9")
    assert client_address(request) == counted
    assert guess(https, 3, address=remote) == 429


@pytest.mark.django_db(transaction=True)  # as pages run
def test_statements_of_a_login(user: User, https: Client) -> None:
    """One query before the password is hashed and one after; at a new address one more."""
    for password, ours, bound in ((WRONG, 2, 3), (PASSWORD, 3, 8), (PASSWORD, 2, 8)):
        https.cookies.clear()
        form = {"username": user.email, "password": password}
        with CaptureQueriesContext(connection) as queries:
            https.post("/accounts/login/", form, REMOTE_ADDR=HERE)
        statements = [query["sql"] for query in queries]
        assert sum("accounts_attempt" in each for each in statements) == ours
        assert len(statements) <= bound, statements


def test_a_login_is_recorded_once_a_day(user: User, https: Client) -> None:
    """Also if others fail elsewhere meanwhile."""
    for days, count in ((0, 1), (0, 1), (2, 2)):
        age(days=days)
        guess(https, 1, address=ELSEWHERE)
        assert log_in(https, PASSWORD) == 302
        assert Attempt.objects.filter(kind="login").count() == count


@pytest.mark.parametrize("keyword", ["username", "email"])
@pytest.mark.parametrize("asynchronous", [True, False])
def test_failures_count_for_the_account_with_any_keyword(
    user: User, rf: RequestFactory, keyword: str, asynchronous: bool
) -> None:
    """Django's forms, Django REST framework and django-allauth use different keywords."""
    User.objects.create_user("grace@example.com", PASSWORD)
    function: Any = async_to_sync(aauthenticate) if asynchronous else authenticate

    def attempt(name: str, password: str, keyword: str = keyword) -> object:
        request = rf.post("/api/", REMOTE_ADDR=HERE)
        return function(request, **{keyword: name, "password": password})

    assert attempt("ada@example.com", PASSWORD) == user
    for _ in range(3):
        assert attempt("ada@example.com", WRONG) is None
    for other in ("username", "email"):
        assert attempt("Ada@example.com", PASSWORD, other) is None
        assert attempt("grace@example.com", PASSWORD, other) is not None


@pytest.mark.parametrize("name", ["", None, " \u3000", "a\0b", "\ud800@example.com"])
def test_names_that_cannot_be_accounts_are_not_counted(rf: RequestFactory, name: Any) -> None:
    for keyword in ("username", "email", "token"):
        assert authenticate(rf.post("/"), **{keyword: name}, password=WRONG) is None
    assert authenticate(rf.post("/"), password=WRONG) is None
    assert authenticate(rf.post("/"), username="ada@example.com", password="\ud800") is None
    assert not Attempt.objects.exists()


def test_without_a_request_there_is_no_limit(user: User, client: Client) -> None:
    requests: list[Any] = [None, {}, object()]
    assert not any(authenticate(r, username=user.email, password=WRONG) for r in requests * 3)
    assert all(authenticate(r, username=user.email, password=PASSWORD) for r in requests)
    assert client.login(email=user.email, password=PASSWORD)
    user_logged_in.send(sender=User, request=None, user=user)  # as channels.auth.login does
