"""Requests that end their own session, and go on."""

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


urlpatterns = [
    path("", whoami),
    path("count/", count),
    path("own/", end_own),
]


@pytest.mark.parametrize(
    ("delete", "then", "is_kept", "found"),
    [
        ("rows", "hash", True, {"visits": 1}),
        ("rows", "roll back", True, {"visits": 1, "fruit": "pear"}),
        ("rows", "write", False, {"visits": 1, "fruit": "pear"}),
        ("user", "write", False, {"visits": 1, "fruit": "pear"}),
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
