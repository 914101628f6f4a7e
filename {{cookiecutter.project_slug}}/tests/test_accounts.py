"""The user, and what tests of your own are written with: as in Django's documentation."""

from datetime import timedelta
from typing import Any
from urllib.request import urlopen

import pytest
from django.contrib.auth import authenticate
from django.core.management import call_command
from django.db import IntegrityError, OperationalError, connection
from django.test import Client
from django.utils import timezone
from outlast.models import Session

from accounts.models import Attempt, User
from tests.conftest import PASSWORD, is_logged_in, post_login

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("spelling", ["ADA@example.com", "ada@EXAMPLE.com", " ada@example.com "])
def test_two_spellings_are_one_account(user: User, spelling: str) -> None:
    assert User.objects.get(email=spelling) == user
    assert authenticate(username=spelling, password=PASSWORD) == user
    with pytest.raises(IntegrityError):
        User.objects.create_user(spelling, "x")


def test_users_are_known_by_their_address() -> None:
    user = User.objects.create_superuser("Grace@Example.COM", "x")
    assert user.email == "grace@example.com" and user.is_staff and user.is_superuser
    User.objects.filter(pk=user.pk).update(email="GRACE@hopper.example")
    user.refresh_from_db()
    assert user.email == "grace@hopper.example"
    with pytest.raises(ValueError, match="email address"):
        User.objects.create_user("", "x")


def test_no_account_comes_with_the_site() -> None:
    assert not User.objects.exists()


def test_a_live_server(live_server: Any, settings: Any) -> None:
    settings.SECURE_SSL_REDIRECT = False
    with urlopen(f"{live_server.url}/accounts/login/") as page:
        assert b"Log in" in page.read()


def test_clearsessions_deletes_what_no_longer_counts(user: User, https: Client) -> None:
    post_login(https, password="wrong")
    post_login(https)
    https.post("/accounts/password/reset/", {"email": "nobody@example.com"})

    def rows() -> list[int]:
        call_command("clearsessions")
        kinds = ("failure", "mail", "login")
        return [
            Session.objects.count(),
            *(Attempt.objects.filter(kind=kind).count() for kind in kinds),
        ]

    assert rows() == [1, 1, 1, 1]
    assert is_logged_in(https)
    for age, left in ((timedelta(hours=25), [0, 0, 0, 1]), (timedelta(days=91), [0, 0, 0, 0])):
        past = timezone.now() - age
        Session.objects.update(expire_date=past)
        Attempt.objects.update(at=past)
        assert rows() == left


@pytest.mark.parametrize(
    ("error", "status"),
    [(OperationalError("database is locked"), 503), (ZeroDivisionError(), 500)],
)
def test_a_database_that_is_away_logs_nobody_out(
    error: Exception, status: int, user: User, https: Client
) -> None:
    https.force_login(user)
    https.raise_request_exception = False

    def fail(*args: Any) -> Any:
        raise error

    with connection.execute_wrapper(fail):
        answers = [https.get("/dashboard/"), https.post("/accounts/logout/")]
        if status == 503:
            answers.append(post_login(https))
    for answer in answers:
        assert answer.status_code == status and not answer.cookies
        assert ("Retry-After" in answer.headers) is (status == 503)
    assert is_logged_in(https)
