"""Sessions on the active profile: who is logged in, for how long, at what cost."""

from typing import Any

from django.conf import settings
from django.test import Client

from apps.accounts.models import User
from tests.conftest import PASSWORD


def test_a_page_of_somebody_logged_in_costs_one_query(
    user: User, https: Client, django_assert_num_queries: Any
) -> None:
    https.force_login(user)
    with django_assert_num_queries(1):
        answer = https.get("/dashboard/")
    assert answer.context["user"] == user


def test_a_session_that_was_logged_out_stays_ended(user: User, https: Client) -> None:
    https.post("/accounts/login/", {"username": user.email, "password": PASSWORD})
    key = https.session.session_key
    assert https.get("/dashboard/").status_code == 200
    https.post("/accounts/logout/")
    https.cookies[settings.SESSION_COOKIE_NAME] = key
    assert https.get("/dashboard/").status_code == 302
