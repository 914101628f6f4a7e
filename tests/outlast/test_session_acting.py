"""What a request does to its own session, during this and other requests."""

from typing import Any

import pytest
from django.contrib import auth
from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path
from outlast.models import Session
from project.urls import count, whoami
from session_helpers import is_logged_in, loaded

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("engine")]


def end_own(request: HttpRequest) -> HttpResponse:
    """A view that ends all sessions of its user in some way, and then does something."""
    assert request.user.is_authenticated
    delete, then = request.GET["delete"], request.GET["then"]
    try:
        with transaction.atomic():
            if delete == "user":
                User.objects.get().delete()
            else:
                Session.objects.only("pk").filter(user__username="ada").delete()
            if then == "roll back":
                raise RuntimeError
    except RuntimeError:
        request.session["fruit"] = "pear"
    if then == "hash":
        user = User.objects.get()
        user.set_password("another")
        user.save()
        auth.update_session_auth_hash(request, user)
    elif then == "write":
        request.session["fruit"] = "pear"
    return HttpResponse()


def end_all(request: HttpRequest) -> HttpResponse:
    Session.objects.all().delete()
    return HttpResponse()


def overtaken(request: HttpRequest) -> HttpResponse:
    """A view during which another request with the same cookie does something."""
    assert request.user.is_authenticated
    other = Client(headers={"cookie": request.headers["Cookie"]})
    assert other.get(request.GET["by"]).status_code in (200, 302)
    return HttpResponse()


def become_eve(request: HttpRequest) -> HttpResponse:
    """A view that writes another user into the session, without that user's hash."""
    request.session[auth.SESSION_KEY] = str(User.objects.get(username="eve").pk)
    return whoami(request)


urlpatterns = [
    path("eve/", become_eve),
    path("overtaken/", overtaken),
    path("end/", end_all),
    path("", whoami),
    path("count/", count),
    path("own/", end_own),
]


@pytest.mark.parametrize(
    ("delete", "then", "is_kept", "found"),
    [
        ("rows", "hash", True, {"visits": 1}),
        ("rows", "roll back", True, {"visits": 1, "fruit": "pear"}),
        ("rows", "write", False, {"fruit": "pear"}),
        ("user", "write", False, {"fruit": "pear"}),
        ("rows", "nothing", False, {}),
    ],
)
def test_a_request_that_ends_its_own_session(
    logged_in: Client,
    settings: Any,
    delete: str,
    then: str,
    is_kept: bool,
    found: dict[str, Any],
) -> None:
    settings.ROOT_URLCONF = __name__
    logged_in.get("/count/")
    before = Session.objects.get()
    assert logged_in.get("/own/", {"delete": delete, "then": then}).status_code == 200
    assert is_logged_in(logged_in) is is_kept
    data = loaded(logged_in.session.session_key) or {}
    assert {k: v for k, v in data.items() if not k.startswith("_auth")} == found
    assert ("_auth_user_id" in data) is is_kept
    if is_kept:
        kept = Session.objects.get()
        assert (kept.public_id, kept.created) == (before.public_id, before.created)
    else:
        assert not Session.objects.filter(pk=before.pk).exists()


@pytest.mark.parametrize(
    ("by", "visits"), [("/", 1), ("/count/", 2), ("/overtaken/?by=/count/", 2), ("/end/", None)]
)
def test_requests_at_the_same_time_after_a_rotation_of_the_secret_key(
    logged_in: Client, settings: Any, by: str, visits: int | None
) -> None:
    """All stay logged in, no write is lost, and an ended session stays ended."""
    settings.ROOT_URLCONF = __name__
    logged_in.get("/count/")
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another"  # noqa: S105
    assert logged_in.get("/overtaken/", {"by": by}).status_code == 200
    assert is_logged_in(logged_in) is (visits is not None)
    settings.SECRET_KEY_FALLBACKS = []
    assert is_logged_in(logged_in) is (visits is not None)
    assert logged_in.session.get("visits") == visits


def test_a_request_that_writes_another_user_into_its_session(
    logged_in: Client, settings: Any
) -> None:
    """The user that came with the row is no longer that of the session."""
    settings.ROOT_URLCONF = __name__
    User.objects.create_user("eve")
    assert logged_in.get("/eve/").content == b"user=anonymous"
    assert not is_logged_in(logged_in)
