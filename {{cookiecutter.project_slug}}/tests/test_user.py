"""The user model: one address, one account, however it is spelled."""

import pytest
from django.contrib.auth import authenticate
from django.db import IntegrityError
from django.test import RequestFactory

from accounts.models import User
from tests.conftest import PASSWORD

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("spelling", ["ADA@example.com", "ada@EXAMPLE.com", " ada@example.com "])
def test_two_spellings_are_one_account(user: User, spelling: str) -> None:
    assert User.objects.get(email=spelling) == user
    with pytest.raises(IntegrityError):
        User.objects.create_user(spelling, "x")


def test_the_address_is_folded_where_it_is_written() -> None:
    user = User.objects.create_user("Grace@Example.COM", "x")
    assert user.email == "grace@example.com"
    User.objects.filter(pk=user.pk).update(email="GRACE@hopper.example")
    user.refresh_from_db()
    assert user.email == "grace@hopper.example"


def test_login_with_another_spelling(user: User, rf: RequestFactory) -> None:
    request = rf.post("/accounts/login/")
    assert authenticate(request, username="Ada@Example.Com", password=PASSWORD) == user


def test_a_user_needs_an_address() -> None:
    with pytest.raises(ValueError, match="e-mail address"):
        User.objects.create_user("", "x")


def test_superuser_may_do_everything() -> None:
    user = User.objects.create_superuser("root@example.com", "x")
    assert user.is_staff and user.is_superuser
