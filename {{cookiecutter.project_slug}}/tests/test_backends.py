"""Failed logins count for all code that calls `authenticate()`."""

from typing import Any
from unittest.mock import patch

import pytest
from django.contrib.auth import authenticate
from django.contrib.auth.backends import BaseBackend
from django.contrib.auth.signals import user_logged_in
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.test import Client, RequestFactory
from django.views.debug import ExceptionReporter

from accounts.models import Attempt, User
from tests.conftest import PASSWORD, post_login

pytestmark = [pytest.mark.django_db, pytest.mark.any_profile]

HERE, ELSEWHERE, WRONG = "192.0.2.1", "198.51.100.7", "wrong"


def test_long_names_are_not_folded(https: Client, rf: RequestFactory) -> None:
    name = "a@" + "ä." * 200
    with patch("accounts.fields.punycode", side_effect=AssertionError("folded")):
        assert authenticate(rf.post("/"), email=name, password=WRONG) is None
        assert post_login(https, name).status_code == 200
        for page in ("password/reset", "sign-up"):
            response: Any = https.post(f"/accounts/{page}/", {"email": name})
            assert response.status_code == 404 or response.context["form"].errors


@pytest.mark.django_db(transaction=True)
def test_failures_survive_a_rollback(user: User, https: Client, monkeypatch: Any) -> None:
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    assert post_login(https, password=WRONG).status_code == 200
    with patch("accounts.views.LoginView.form_invalid", side_effect=PermissionDenied):
        for _ in range(4):
            assert post_login(https, password=WRONG).status_code == 403
    assert Attempt.objects.count() == 5
    assert post_login(https).status_code == 429


def test_a_failure_counts_for_its_own_name_only(user: User, rf: RequestFactory) -> None:
    request = rf.post("/", REMOTE_ADDR=HERE)
    assert authenticate(request, email=user.email, password=WRONG) is None
    other = User.objects.create_user("grace@example.com")
    user_logged_in.send(sender=User, request=request, user=other)
    for credentials in ({"token": "a"}, {"email": "", "password": WRONG}):
        assert authenticate(request, **credentials) is None
    attempts = Attempt.objects.order_by("kind").values_list("kind", "name")
    assert list(attempts) == [("failure", user.email), ("login", other.email)]


def test_no_error_report_shows_a_password(rf: RequestFactory) -> None:
    request = rf.post("/")
    with patch("accounts.throttle.Throttle", side_effect=OSError), pytest.raises(OSError) as error:
        authenticate(request, email="ada@example.com", password=PASSWORD)
    report = ExceptionReporter(request, error.type, error.value, error.tb).get_traceback_html()
    assert "ada@example.com" in report and PASSWORD not in report


class Phone(BaseBackend):
    """Another backend, with a keyword of its own."""

    def authenticate(
        self, request: Any, phone: str = "", password: str = "", **kwargs: Any
    ) -> User | None:
        return User.objects.get() if password == PASSWORD else None


def test_another_backend_has_these_limits(user: User, rf: RequestFactory, settings: Any) -> None:
    settings.AUTHENTICATION_BACKENDS = [*settings.AUTHENTICATION_BACKENDS, f"{__name__}.Phone"]

    def attempt(password: str, address: str) -> object:
        request = rf.post("/", REMOTE_ADDR=address)
        if found := authenticate(request, phone="+1", password=password):
            user_logged_in.send(sender=User, request=request, user=found)
        return found

    for _ in range(9):
        assert attempt(PASSWORD, HERE) == user, "a login by another backend is no failure"
    for number in range(30):
        assert attempt(WRONG, f"203.0.113.{number}") is None
    assert attempt(PASSWORD, ELSEWHERE) is None
    assert attempt(PASSWORD, HERE) == user, "strangers locked the owner out"
