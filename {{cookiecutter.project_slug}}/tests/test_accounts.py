"""The user model, and the daily cleanup."""

from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import authenticate
from django.core.management import call_command
from django.db import IntegrityError, connection
from django.db.migrations.loader import MigrationLoader
from django.test import Client, TestCase
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
    assert not User.objects.exists(), "a new site has accounts"
    user = User.objects.create_superuser("Grace@Example.COM", "x")
    assert user.email == "grace@example.com" and user.is_staff and user.is_superuser
    User.objects.filter(pk=user.pk).update(email="GRACE@hopper.example")
    user.refresh_from_db()
    assert user.email == "grace@hopper.example"
    with pytest.raises(ValueError, match="email address"):
        User.objects.create_user("", "x")


class PasswordBeforeFixtures(TestCase):
    """Users of Django's test cases exist before the fixtures of the first test."""

    @classmethod
    def setUpTestData(cls) -> None:
        cls.user = User.objects.create_user("ada@example.com", PASSWORD)

    def test_login(self) -> None:
        assert self.client.login(username="ada@example.com", password=PASSWORD)
        assert User.objects.get().password == self.user.password, "hashed again"


def test_the_manager_has_the_methods_of_djangos() -> None:
    in_migrations = MigrationLoader(connection).project_state().apps.get_model("accounts", "User")
    in_migrations.objects.create_user("ada@example.com", PASSWORD)
    assert authenticate(username="ada@example.com", password=PASSWORD)
    create = async_to_sync(User.objects.acreate_superuser)
    root = create("root@example.com", PASSWORD, is_staff=True)
    assert root in User.objects.with_perm("accounts.add_user")
    assert not async_to_sync(User.objects.acreate_user)("b@example.com").has_usable_password()


def test_clearsessions_deletes_what_no_longer_counts(user: User, https: Client) -> None:
    post_login(https, password="wrong")
    post_login(https)
    https.post("/accounts/password/reset/", {"email": "stranger@example.com"})

    def rows() -> list[int]:
        call_command("clearsessions")
        kinds = [Attempt.objects.filter(kind=kind) for kind in ("failure", "mail", "login")]
        return [found.count() for found in (Session.objects, *kinds)]

    assert rows() == [1, 1, 1, 1]
    assert is_logged_in(https)
    for age, left in ((timedelta(hours=25), [0, 0, 0, 1]), (timedelta(days=91), [0, 0, 0, 0])):
        past = timezone.now() - age
        Session.objects.update(expire_date=past)
        Attempt.objects.update(at=past)
        assert rows() == left
