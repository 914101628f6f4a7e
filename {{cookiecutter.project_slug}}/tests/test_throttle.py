"""The throttle: who guesses waits, nobody else does, and nobody for ever."""

import re
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest
from asgiref.sync import async_to_sync
from axes.models import AccessAttempt
from django.contrib.auth import aauthenticate, authenticate
from django.contrib.auth.hashers import MD5PasswordHasher
from django.core.management import call_command
from django.db import connection
from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import throttle
from accounts.models import User
from tests.conftest import PASSWORD

pytestmark = [pytest.mark.django_db, pytest.mark.any_profile]

HERE, ELSEWHERE = "192.0.2.1", "198.51.100.7"
WRONG = "wrong"
NOBODY = "nobody@example.com"


@pytest.fixture(autouse=True)
def _limits(settings: Any) -> None:
    settings.AXES_FAILURE_LIMIT = 3
    settings.THROTTLE_ACCOUNT_LIMIT = 7


def log_in(
    client: Client, name: str = "ada@example.com", password: str = WRONG, address: str = HERE
) -> HttpResponse:
    client.logout()
    return client.post(
        "/accounts/login/", {"username": name, "password": password}, REMOTE_ADDR=address
    )


def age(by: timedelta) -> None:
    """Let time pass for the failures that are on record."""
    for attempt in AccessAttempt.objects.all():
        AccessAttempt.objects.filter(pk=attempt.pk).update(attempt_time=attempt.attempt_time - by)


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


def test_no_password_is_written_down(user: User, https: Client) -> None:
    https.force_login(user)
    form = {"old_password": "secret1", "new_password1": "secret2", "new_password2": "secret3"}
    https.post("/accounts/password/change/", form, REMOTE_ADDR=HERE)
    log_in(https, password="secret4")
    attempts = AccessAttempt.objects.values_list("post_data", "get_data", "username")
    assert attempts
    assert "secret" not in str(list(attempts))


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
    assert throttle.client_address(request) == counted


@pytest.mark.parametrize("address", ["2001:db8:1:2:3:4:5:6", "", "unknown"])
def test_any_address_can_fail(user: User, https: Client, address: str) -> None:
    name = "x" * 300 + "@example.com"  # longer than the column
    assert log_in(https, name, address=address).status_code == 200
    assert guess(https, 3, address=address).status_code == 429
    assert guess(https, 3, name=name, address=address).status_code in (200, 429)


@pytest.mark.parametrize(
    "command", [("axes_reset_username", "Ada@Example.com"), ("axes_reset_ip", "2001:db8::7")]
)
def test_the_reset_commands(user: User, https: Client, command: list[str]) -> None:
    guess(https, 3, address="2001:db8::7")
    call_command(*command)
    assert log_in(https, password=PASSWORD, address="2001:db8::7").status_code == 302


def test_axes_agrees_with_the_settings() -> None:
    call_command("check", fail_level="WARNING")
