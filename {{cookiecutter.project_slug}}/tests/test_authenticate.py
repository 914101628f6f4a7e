"""Whatever calls `authenticate()` is throttled, by whatever name and backend."""

from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import aauthenticate, authenticate
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.signals import user_logged_in
from django.test import Client, RequestFactory

from accounts.models import Attempt, User
from tests.conftest import PASSWORD, post_login

pytestmark = [pytest.mark.django_db, pytest.mark.any_profile]

HERE, WRONG = "192.0.2.1", "wrong"


@pytest.mark.parametrize("keyword", ["username", "email"])
@pytest.mark.parametrize("asynchronous", [True, False])
def test_failures_count_under_the_account_however_it_is_called(
    user: User, rf: RequestFactory, keyword: str, asynchronous: bool
) -> None:
    """Django's forms, Django REST framework and django-allauth use different keywords."""
    User.objects.create_user("grace@example.com", PASSWORD)
    function: Any = async_to_sync(aauthenticate) if asynchronous else authenticate

    def attempt(name: str, password: str, keyword: str = keyword) -> object:
        request = rf.post("/api/", REMOTE_ADDR=HERE)
        return function(request, **{keyword: name, "password": password})

    assert attempt("ada@example.com", PASSWORD) == user
    for _ in range(5):
        assert attempt("ada@example.com", WRONG) is None
    for other in ("username", "email"):
        assert attempt("Ada@example.com", PASSWORD, other) is None
        assert attempt("grace@example.com", PASSWORD, other) is not None


@pytest.mark.parametrize("name", ["", None, "a\0b", "\ud800@example.com"])
def test_what_names_no_account_is_never_counted(rf: RequestFactory, name: Any) -> None:
    for _ in range(5):
        for keyword in ("username", "email", "token"):
            assert authenticate(rf.post("/"), **{keyword: name}, password=WRONG) is None
    assert authenticate(rf.post("/"), password=WRONG) is None
    assert not Attempt.objects.exists()


@pytest.mark.parametrize("name", ["x" * 10_000, "ada@example.com\r\nBcc: x"])
def test_odd_names_and_passwords_are_no_error(rf: RequestFactory, name: str) -> None:
    for password in ("\ud800", WRONG * 2000):
        assert authenticate(rf.post("/"), email=name, password=password) is None


def test_without_a_request_there_is_no_throttle(user: User, client: Client) -> None:
    for _ in range(9):
        assert authenticate(username=user.email, password=WRONG) is None
    assert authenticate(username=user.email, password=PASSWORD) == user
    assert client.login(email=user.email, password=PASSWORD)
    user_logged_in.send(sender=User, request=None, user=user)  # as channels.auth.login does


class Directory(ModelBackend):
    """A second backend, such as LDAP: the password is the same for everyone."""

    def authenticate(self, request: Any, username: Any = None, **credentials: Any) -> User | None:
        found = credentials.get("password") == "directory"
        return User.objects.get(email=username) if found else None


def test_logins_by_another_backend_are_no_failures(
    user: User, new_browser: Any, settings: Any
) -> None:
    path = f"{__name__}.Directory"
    settings.AUTHENTICATION_BACKENDS = [*settings.AUTHENTICATION_BACKENDS, path]

    def attempts(times: int, password: str) -> set[int]:
        return {post_login(new_browser(), password=password).status_code for _ in range(times)}

    assert attempts(9, "directory") == {302}
    assert attempts(settings.THROTTLE_PAIR_LIMIT, WRONG) == {200, 429}
    assert attempts(1, "directory") == {429}, "one throttle for all"
