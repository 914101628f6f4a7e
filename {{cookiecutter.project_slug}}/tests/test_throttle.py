"""The throttle: a guesser waits, others do not, and no wait is endless."""

import re
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest
from django.contrib.auth import authenticate
from django.contrib.auth.hashers import MD5PasswordHasher
from django.core.management import call_command
from django.db import connection
from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext

from accounts.fields import client_address
from accounts.models import Attempt, User
from tests.conftest import PASSWORD

pytestmark = [pytest.mark.django_db, pytest.mark.any_profile]

HERE, ELSEWHERE = "192.0.2.1", "198.51.100.7"
WRONG, STRANGER = "wrong", "nobody@example.com"


@pytest.fixture(autouse=True)
def _limits(settings: Any) -> None:
    settings.THROTTLE_PAIR_LIMIT = 3
    settings.THROTTLE_ACCOUNT_LIMIT = 7
    settings.THROTTLE_DAY_LIMIT = 12


def log_in(
    client: Client, password: str = WRONG, address: str = HERE, name: str = "ada@example.com"
) -> int:
    return try_to_log_in(client, password, address, name).status_code


def try_to_log_in(client: Client, password: str, address: str, name: str) -> HttpResponse:
    client.logout()
    form = {"username": name, "password": password}
    return client.post("/accounts/login/", form, REMOTE_ADDR=address)


def guess(client: Client, times: int, **how: Any) -> int:
    """Return the status of the last guess."""
    return [log_in(client, **how) for _ in range(times)][-1]


def guess_from_everywhere(client: Client) -> None:
    assert {log_in(client, address=f"203.0.113.{number}") for number in range(7)} <= {200, 429}


def age(**by: int) -> None:
    """Let time pass for the attempts that are on record."""
    for attempt in Attempt.objects.all():
        Attempt.objects.filter(pk=attempt.pk).update(at=attempt.at - timedelta(**by))


# --- Who waits, and for how long ---


def test_a_guesser_waits_and_is_told_how_long(user: User, https: Client) -> None:
    assert guess(https, 2) == 200
    response = try_to_log_in(https, WRONG, HERE, user.email)
    assert response.status_code == 429
    assert 14 * 60 < int(response.headers["Retry-After"]) <= 15 * 60
    assert b"in 15 minutes" in response.content
    # Even with the right password, and in the admin, and however the address is spelled.
    assert log_in(https, PASSWORD) == log_in(https, PASSWORD, name=" ADA@Example.com") == 429
    form = {"username": "ada@example.com", "password": PASSWORD}
    assert https.post("/admin/login/", form, REMOTE_ADDR=HERE).status_code == 429
    # No one but this account, and nowhere else.
    User.objects.create_user("grace@example.com", PASSWORD)
    assert log_in(https, PASSWORD, name="grace@example.com") == 302
    assert log_in(https, PASSWORD, ELSEWHERE) == 302
    call_command("unlock", "Ada@Example.com")
    assert log_in(https, PASSWORD) == 302


def test_a_wait_ends_however_often_somebody_tries(user: User, https: Client) -> None:
    """Failures some minutes apart: it ends when the oldest is fifteen minutes old."""
    for _ in range(3):
        log_in(https)
        age(minutes=4)
    assert guess(https, 20) == 429
    response = try_to_log_in(https, WRONG, HERE, user.email)
    assert 2 * 60 < int(response.headers["Retry-After"]) <= 3 * 60 + 1
    age(minutes=3, seconds=1)
    assert log_in(https, PASSWORD) == 302


def test_guesses_from_many_addresses_lock_the_account_but_not_at_home(
    user: User, https: Client
) -> None:
    guess_from_everywhere(https)
    assert log_in(https, PASSWORD) == 429
    age(minutes=15, seconds=1)
    assert log_in(https, PASSWORD) == 302
    guess_from_everywhere(https)
    assert log_in(https, PASSWORD, ELSEWHERE) == 429
    assert log_in(https, PASSWORD) == 302
    assert guess(https, 3) == 429, "home is no licence to guess"
    assert log_in(https, PASSWORD) == 429


def test_guesses_in_a_day_are_bounded_but_not_at_home(user: User, https: Client) -> None:
    assert log_in(https, PASSWORD) == 302
    for number in range(12):
        assert log_in(https, address=f"203.0.113.{number}") in (200, 429)
        age(minutes=16)
    response = try_to_log_in(https, PASSWORD, ELSEWHERE, user.email)
    assert response.status_code == 429
    assert int(response.headers["Retry-After"]) > 20 * 3600
    assert log_in(https, PASSWORD) == 302
    age(days=1)
    assert log_in(https, PASSWORD, ELSEWHERE) == 302


def test_a_login_forgives_the_owner_and_not_the_guesser(user: User, https: Client) -> None:
    guess(https, 2)
    guess(https, 2, address=ELSEWHERE)
    assert log_in(https, PASSWORD) == 302
    assert guess(https, 2) == 200
    assert log_in(https, address=ELSEWHERE) == 429


def test_many_guesses_at_once_gain_nothing(user: User, rf: RequestFactory) -> None:
    """They have all been let in before the first of them failed."""
    right_password = User.check_password

    def meanwhile_others_fail(user: User, password: str) -> bool:
        with patch.object(User, "check_password", return_value=False):
            for _ in range(3):
                authenticate(rf.post("/", REMOTE_ADDR=HERE), username=user.email, password=WRONG)
        return right_password(user, password)

    with patch.object(User, "check_password", meanwhile_others_fail):
        request = rf.post("/", REMOTE_ADDR=HERE)
        assert authenticate(request, username=user.email, password=PASSWORD) is None


@pytest.mark.parametrize("password", [WRONG, PASSWORD])
def test_unknown_disabled_and_known_are_answered_alike(
    user: User, https: Client, password: str
) -> None:
    """The same pages after the same work: queries and hashes are counted, not timed."""
    User.objects.create_user("gone@example.com", PASSWORD, is_active=False)
    User.objects.create_user("none@example.com", None)
    names = [STRANGER, "gone@example.com", "none@example.com"]
    if password == WRONG:
        names.append(user.email)
    seen = {name: [work_of(https, name, password) for _ in range(4)] for name in names}
    assert [status for status, *_ in seen[STRANGER]] == [200, 200, 429, 429]
    assert [hashes for *_, hashes in seen[STRANGER]] == [1, 1, 1, 0]
    for name in names:
        assert seen[name] == seen[STRANGER], name


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


# --- Addresses ---


@pytest.mark.parametrize(
    ("remote", "counted"),
    [
        (HERE, HERE),
        (f"::ffff:{HERE}", HERE),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("", None),
        ("unknown", None),
    ],
)
def test_the_address_that_counts(
    user: User, https: Client, rf: RequestFactory, remote: str, counted: str | None
) -> None:
    request = rf.get("/", REMOTE_ADDR=remote, HTTP_X_FORWARDED_FOR="203.0.113.9")
    assert client_address(request) == counted
    assert guess(https, 3, address=remote) == 429
    assert guess(https, 3, address=remote, name="x" * 300 + "@example.com") in (200, 429)


@pytest.mark.django_db(transaction=True)  # as pages run
def test_statements_of_a_login(user: User, new_browser: Any) -> None:
    """One query before the password is hashed and one after; at a new address one more."""
    for password, ours, bound in ((WRONG, 2, 3), (PASSWORD, 3, 8), (PASSWORD, 2, 8)):
        browser, form = new_browser(), {"username": user.email, "password": password}
        with CaptureQueriesContext(connection) as queries:
            browser.post("/accounts/login/", form, REMOTE_ADDR=HERE)
        statements = [query["sql"] for query in queries]
        assert sum("accounts_attempt" in each for each in statements) == ours
        assert len(statements) <= bound, statements


def test_a_login_is_recorded_once_a_day(client: Client, user: User) -> None:
    """Whatever fails elsewhere meanwhile: only failures at its own address are forgiven."""

    def logins() -> int:
        assert log_in(client, PASSWORD, ELSEWHERE) == 302
        return Attempt.objects.filter(kind="login").count()

    assert logins() == 1
    guess(client, 1, address=HERE)
    assert logins() == 1
    age(days=2)
    assert logins() == 2


@pytest.mark.parametrize("given", [("\ud800@example.com", PASSWORD), ("a@example.com", "\ud800")])
def test_what_is_no_text_is_no_account(given: tuple[str, str], rf: RequestFactory) -> None:
    assert authenticate(rf.get("/"), username=given[0], password=given[1]) is None
