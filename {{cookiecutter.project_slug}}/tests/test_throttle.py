"""The throttle: a guesser waits, others do not, and no wait is endless."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import aauthenticate, authenticate
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.hashers import MD5PasswordHasher
from django.contrib.auth.signals import user_logged_in
from django.core.management import call_command
from django.db import connection
from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.fields import client_address
from accounts.models import Attempt, User
from tests.conftest import PASSWORD

pytestmark = [pytest.mark.django_db, pytest.mark.any_profile]

HERE, ELSEWHERE = "192.0.2.1", "198.51.100.7"
WRONG = "wrong"
NOBODY = "nobody@example.com"


@pytest.fixture(autouse=True)
def _limits(settings: Any) -> None:
    settings.THROTTLE_PAIR_LIMIT = 3
    settings.THROTTLE_ACCOUNT_LIMIT = 7
    settings.THROTTLE_DAY_LIMIT = 12


def log_in(
    client: Client, name: str = "ada@example.com", password: str = WRONG, address: str = HERE
) -> HttpResponse:
    client.logout()
    return client.post(
        "/accounts/login/", {"username": name, "password": password}, REMOTE_ADDR=address
    )


def age(by: timedelta) -> None:
    """Let time pass for the attempts that are on record."""
    for attempt in Attempt.objects.all():
        Attempt.objects.filter(pk=attempt.pk).update(at=attempt.at - by)


def guess(client: Client, times: int, **how: Any) -> HttpResponse:
    for _ in range(times):
        response = log_in(client, **how)
    return response


def guess_from_everywhere(client: Client, name: str = "ada@example.com") -> None:
    for number in range(7):
        assert log_in(client, name, address=f"203.0.113.{number}").status_code in (200, 429)


def test_a_guesser_waits_and_is_told_how_long(user: User, https: Client) -> None:
    assert guess(https, 2).status_code == 200
    response = log_in(https)
    assert response.status_code == 429
    assert 14 * 60 < int(response.headers["Retry-After"]) <= 15 * 60
    until = timezone.now() + timedelta(seconds=int(response.headers["Retry-After"]))
    assert abs(response.context["until"] - until) < timedelta(seconds=30)
    assert b"in 15 minutes" in response.content
    # Even with the right password; and the admin's door is the same.
    assert log_in(https, password=PASSWORD).status_code == 429
    form = {"username": "ada@example.com", "password": PASSWORD}
    assert https.post("/admin/login/", form, REMOTE_ADDR=HERE).status_code == 429


def test_a_wait_ends_however_often_somebody_tries(user: User, https: Client) -> None:
    guess(https, 3)
    age(timedelta(minutes=14))
    assert guess(https, 20).status_code == 429
    age(timedelta(minutes=1, seconds=1))
    assert log_in(https, password=PASSWORD).status_code == 302


def test_it_ends_when_the_oldest_failure_is_forgotten(user: User, https: Client) -> None:
    """Failures of three browsers behind one address, some minutes apart."""
    for browser in "abc":
        https.defaults["HTTP_USER_AGENT"] = browser
        response = log_in(https)
        age(timedelta(minutes=4))
    assert response.status_code == 429
    # The first failure is twelve minutes old: three are left.
    assert 2 * 60 < int(log_in(https).headers["Retry-After"]) <= 3 * 60 + 1
    age(timedelta(minutes=3, seconds=1))
    assert log_in(https, password=PASSWORD).status_code == 302


def test_letter_case_makes_no_other_account(user: User, https: Client) -> None:
    for name in ("ada@example.com", "ADA@example.com", " Ada@Example.COM"):
        response = log_in(https, name)
    assert response.status_code == 429


def test_a_second_person_behind_the_address_is_not_locked_out(user: User, https: Client) -> None:
    User.objects.create_user("grace@example.com", PASSWORD)
    guess(https, 10)
    assert log_in(https, "grace@example.com", PASSWORD).status_code == 302


def test_the_owner_is_not_locked_out_elsewhere(user: User, https: Client) -> None:
    guess(https, 10)
    assert log_in(https, password=PASSWORD, address=ELSEWHERE).status_code == 302


def test_guesses_from_many_addresses_lock_the_account(user: User, https: Client) -> None:
    guess_from_everywhere(https)
    assert log_in(https, password=PASSWORD, address=ELSEWHERE).status_code == 429
    age(timedelta(minutes=15, seconds=1))
    assert log_in(https, password=PASSWORD, address=ELSEWHERE).status_code == 302


def test_strangers_do_not_lock_the_owner_out_at_home(user: User, https: Client) -> None:
    assert log_in(https, password=PASSWORD, address=HERE).status_code == 302
    guess_from_everywhere(https)
    assert log_in(https, password=PASSWORD, address=HERE).status_code == 302
    # Home is no licence to guess.
    assert guess(https, 3, address=HERE).status_code == 429
    assert log_in(https, password=PASSWORD, address=HERE).status_code == 429


def test_a_login_forgives_the_owner_and_not_the_guesser(user: User, https: Client) -> None:
    guess(https, 2, address=HERE)
    guess(https, 2, address=ELSEWHERE)
    assert log_in(https, password=PASSWORD, address=HERE).status_code == 302
    assert guess(https, 2, address=HERE).status_code == 200
    assert log_in(https, address=ELSEWHERE).status_code == 429


def test_many_guesses_at_once_gain_nothing(user: User, rf: RequestFactory) -> None:
    """They have all been let in before the first of them failed."""
    request = rf.post("/accounts/login/", REMOTE_ADDR=HERE)
    right_password = User.check_password

    def meanwhile_others_fail(user: User, password: str) -> bool:
        for _ in range(3):
            other = rf.post("/accounts/login/", REMOTE_ADDR=HERE)
            with patch.object(User, "check_password", return_value=False):
                authenticate(other, username="ada@example.com", password="wrong")
        return right_password(user, password)

    with patch.object(User, "check_password", meanwhile_others_fail):
        assert authenticate(request, username="ada@example.com", password=PASSWORD) is None


def test_asynchronous_code_is_throttled_as_well(user: User, rf: RequestFactory) -> None:
    def attempt(password: str) -> object:
        request = rf.post("/accounts/login/", REMOTE_ADDR=HERE)
        return async_to_sync(aauthenticate)(request, username=user.email, password=password)

    assert attempt(PASSWORD) == user
    for _ in range(3):
        attempt("wrong")
    assert attempt(PASSWORD) is None


@pytest.mark.parametrize("password", ["wrong", PASSWORD])
def test_unknown_disabled_and_known_are_answered_alike(
    user: User, https: Client, password: str
) -> None:
    """The same pages after the same work: queries and hashes are counted, not timed."""
    User.objects.create_user("gone@example.com", PASSWORD, is_active=False)
    User.objects.create_user("none@example.com", None)
    names = [NOBODY, "gone@example.com", "none@example.com"]
    if password == "wrong":
        names.append("ada@example.com")
    seen = {name: [_work(https, name, password) for _ in range(4)] for name in names}
    assert [status for status, *_ in seen[NOBODY]] == [200, 200, 429, 429]
    assert [hashes for *_, hashes in seen[NOBODY]] == [1, 1, 1, 0]
    for name in names:
        assert seen[name] == seen[NOBODY], name


def _work(client: Client, name: str, password: str) -> tuple[int, str, int, int]:
    """Try to log in; return status, page, number of queries, number of hashes."""
    encode = MD5PasswordHasher.encode
    with (
        CaptureQueriesContext(connection) as queries,
        patch.object(MD5PasswordHasher, "encode", autospec=True, side_effect=encode) as hashes,
    ):
        response = log_in(client, name, password)
    varying = r'name="csrfmiddlewaretoken" value="\w+"|<time.*?</time>'
    page = re.sub(varying, "", response.content.decode())
    return response.status_code, page.replace(name, ""), len(queries), hashes.call_count


def test_the_cache_plays_no_part(user: User, https: Client, settings: Any) -> None:
    settings.SESSION_ENGINE = "outlast.sessions.db"  # without copies in the cache
    settings.CACHES = {"default": {"BACKEND": "tests.test_throttle.BrokenCache"}}
    assert guess(https, 3).status_code == 429


class BrokenCache:
    """A cache that fails at the touch."""

    def __init__(self, *args: Any) -> None:
        raise AssertionError("The throttle asked the cache.")


@pytest.mark.parametrize(
    ("remote", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("", None),
        ("unknown", None),
    ],
)
def test_the_address_that_counts(rf: RequestFactory, remote: str, counted: str | None) -> None:
    request = rf.get("/", REMOTE_ADDR=remote, HTTP_X_FORWARDED_FOR="203.0.113.9")
    assert client_address(request) == counted


@pytest.mark.parametrize("address", ["2001:db8:1:2:3:4:5:6", "", "unknown"])
def test_any_address_can_fail(user: User, https: Client, address: str) -> None:
    name = "x" * 300 + "@example.com"  # longer than the column
    assert log_in(https, name, address=address).status_code == 200
    assert guess(https, 3, address=address).status_code == 429
    assert guess(https, 3, name=name, address=address).status_code in (200, 429)


def test_the_command_that_unlocks(user: User, https: Client) -> None:
    guess(https, 3)
    call_command("unlock", "Ada@Example.com")
    assert log_in(https, password=PASSWORD).status_code == 302


# --- Whatever calls authenticate() ---


@pytest.mark.parametrize("keyword", ["username", "email"])
def test_failures_count_under_the_account_however_it_is_called(
    user: User, rf: RequestFactory, keyword: str
) -> None:
    """Django's forms, Django REST framework and django-allauth use different keywords."""
    User.objects.create_user("grace@example.com", PASSWORD)

    def attempt(name: str, password: str, keyword: str = keyword) -> object:
        request = rf.post("/api/", REMOTE_ADDR=HERE)
        return authenticate(request, **{keyword: name, "password": password})

    assert attempt("ada@example.com", PASSWORD) == user
    for _ in range(3):
        assert attempt("ada@example.com", WRONG) is None
    for other in ("username", "email"):
        assert attempt("Ada@example.com", PASSWORD, other) is None
        assert attempt("grace@example.com", PASSWORD, other) is not None


@pytest.mark.parametrize(
    "credentials", [{}, {"username": ""}, {"email": None}, {"token": "x"}, {"username": "a\0b"}]
)
def test_what_names_no_account_is_never_counted(
    rf: RequestFactory, credentials: dict[str, Any]
) -> None:
    for _ in range(5):
        assert authenticate(rf.post("/"), **credentials, password=WRONG) is None
    assert not Attempt.objects.exists()


@pytest.mark.parametrize("name", ["\ud800@example.com", "x" * 10_000, "ada@example.com\r\nBcc: x"])
def test_odd_names_are_refused_without_an_error(rf: RequestFactory, name: str) -> None:
    assert authenticate(rf.post("/"), email=name, password="\ud800") is None
    assert authenticate(rf.post("/"), email=name, password=WRONG * 2000) is None


def test_without_a_request_there_is_no_throttle(user: User, client: Client) -> None:
    for _ in range(9):
        assert authenticate(username=user.email, password=WRONG) is None
    assert authenticate(username=user.email, password=PASSWORD) == user
    assert client.login(username=user.email, password=PASSWORD)
    client.force_login(user)
    user_logged_in.send(sender=User, request=None, user=user)  # as channels.auth.login does


class Directory(ModelBackend):
    """A second backend, such as LDAP: the password is the same for everyone."""

    def authenticate(self, request: Any, username: Any = None, **credentials: Any) -> User | None:
        found = credentials.get("password") == "directory"
        return User.objects.get(email=username) if found else None


def test_logins_by_another_backend_are_no_failures(
    user: User, https: Client, settings: Any
) -> None:
    settings.AUTHENTICATION_BACKENDS = [
        *settings.AUTHENTICATION_BACKENDS,
        "tests.test_throttle.Directory",
    ]
    for _ in range(9):
        assert log_in(https, password="directory").status_code == 302
    guess_from_everywhere(https)
    assert log_in(https, password="directory").status_code == 302  # the address is known
    assert guess(https, 3).status_code == 429
    assert log_in(https, password="directory").status_code == 429  # one throttle for all


# --- A day ---


def test_guesses_in_a_day_are_bounded_except_where_the_owner_logs_in(
    user: User, https: Client
) -> None:
    assert log_in(https, password=PASSWORD).status_code == 302
    for number in range(12):
        assert log_in(https, address=f"203.0.113.{number}").status_code in (200, 429)
        age(timedelta(minutes=16))
    response = log_in(https, password=PASSWORD, address=ELSEWHERE)
    assert response.status_code == 429
    assert int(response.headers["Retry-After"]) > 20 * 3600
    assert log_in(https, password=PASSWORD, address=HERE).status_code == 302
    age(timedelta(days=1))
    assert log_in(https, password=PASSWORD, address=ELSEWHERE).status_code == 302


# --- What it costs ---


def test_statements_of_a_login(user: User, new_browser: Callable[[], Client]) -> None:
    """One query before the password is hashed and one after; at a new address one more."""
    seen = []
    for password in (WRONG, PASSWORD, PASSWORD):
        browser, form = new_browser(), {"username": user.email, "password": password}
        with CaptureQueriesContext(connection) as queries:
            browser.post("/accounts/login/", form, REMOTE_ADDR=HERE)
        statements = [query["sql"] for query in queries]
        seen.append((sum("accounts_attempt" in each for each in statements), statements))
    assert [ours for ours, _ in seen] == [2, 3, 2]
    for (_, statements), bound in zip(seen, (3, 8, 8), strict=True):
        assert len(statements) <= bound, statements
