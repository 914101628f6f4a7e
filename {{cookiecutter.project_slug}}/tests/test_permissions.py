"""Django's permission decorators, with the site's own login page."""

from typing import Any

import pytest
from django.contrib.auth.decorators import permission_required
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import path

from accounts.models import User
from config import urls


def view(request: HttpRequest) -> HttpResponse:
    return HttpResponse("secret")


urlpatterns = [*urls.urlpatterns, path("staff/", permission_required("accounts.add_user")(view))]
handler500 = urls.handler500


@pytest.mark.any_profile
@override_settings(ROOT_URLCONF=__name__)
def test_without_the_permission_there_is_a_login_form(https: Client, user: User) -> None:
    https.force_login(user)
    response: Any = https.get("/staff/", follow=True)
    assert len(response.redirect_chain) == 1
    page = response.content.decode()
    assert f"You are logged in as {user.email}" in page
    assert 'href="/staff/"' in page
    assert "secret" not in page
    assert https.get("/accounts/login/").headers["Location"] == "/dashboard/"
