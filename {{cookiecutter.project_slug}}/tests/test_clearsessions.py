"""`manage.py clearsessions` deletes what is expired, and nothing else, on any profile."""

from datetime import timedelta

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone
from outlast.models import Session

from accounts.models import Attempt, User
from tests.conftest import PASSWORD


@pytest.mark.django_db
def test_it_clears_sessions_and_the_records_of_the_throttle(user: User, https: Client) -> None:
    login = {"username": user.email, "password": PASSWORD}
    https.post("/accounts/login/", login | {"password": "wrong"}, REMOTE_ADDR="192.0.2.1")
    https.post("/accounts/login/", login, REMOTE_ADDR="192.0.2.2")
    https.post("/accounts/password/reset/", {"email": "nobody@example.com"})

    def rows() -> list[int]:
        call_command("clearsessions")
        kinds = ("failure", "mail", "login")
        return [
            Session.objects.count(),
            *(Attempt.objects.filter(kind=kind).count() for kind in kinds),
        ]

    assert rows() == [1, 1, 1, 1]
    assert https.get("/dashboard/").status_code == 200
    for age, left in ((timedelta(hours=25), [0, 0, 0, 1]), (timedelta(days=91), [0, 0, 0, 0])):
        past = timezone.now() - age
        Session.objects.update(expire_date=past)
        Attempt.objects.update(at=past)
        assert rows() == left
