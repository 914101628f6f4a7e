"""Logged in without the right permission: 403 with a way to log in as another user."""

from typing import Any

import pytest
from django.contrib.auth.decorators import permission_required, user_passes_test
from django.contrib.auth.mixins import PermissionRequiredMixin, UserPassesTestMixin
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path
from django.views import View

from accounts.models import User
from config import urls
from tests.conftest import post_login


def view(request: HttpRequest) -> HttpResponse:
    return HttpResponse("secret")


class Permission(PermissionRequiredMixin, View):
    permission_required = "accounts.add_user"
    get = staticmethod(view)


class Passes(UserPassesTestMixin, View):
    get = staticmethod(view)

    def test_func(self) -> bool:
        return bool(self.request.user.is_staff)


urlpatterns = [
    *urls.urlpatterns,
    path("permission/", permission_required("accounts.add_user")(view)),
    path("test/", user_passes_test(lambda user: user.is_staff)(view)),
    path("permission-mixin/", Permission.as_view()),
    path("test-mixin/", Passes.as_view()),
]
handler500 = urls.handler500

pytestmark = [pytest.mark.any_profile, pytest.mark.urls(__name__)]
PAGES = ["/permission/", "/test/", "/permission-mixin/", "/test-mixin/", "/admin/"]


@pytest.mark.parametrize("page", PAGES)
def test_without_permission_there_is_a_way_to_log_in_as_another(
    https: Client, user: User, admin: Client, page: str
) -> None:
    https.force_login(user)
    response: Any = https.get(page, follow=True)
    assert response.status_code == 403
    text = response.content.decode()
    assert "secret" not in text
    if response.redirect_chain:  # the decorators and the admin show the login form at once
        login = response.redirect_chain[-1][0]
        assert f"You are logged in as {user.email}" in text
    else:
        login = "/accounts/login/?next=" + page
        assert f'href="{login}"' in text
    assert login.endswith("?next=" + page)
    assert post_login(https, "root@example.com", next=page).headers["Location"] == page
    assert https.get(page).status_code == 200


def test_the_login_page_does_not_deny_a_page_that_is_allowed(https: Client, user: User) -> None:
    """As when another tab has logged in already."""
    https.force_login(user)
    text = https.get("/accounts/login/?next=/dashboard/").content.decode()
    assert '<a href="/dashboard/">Open the page</a>' in text
    assert "If this account does not have permission" in text


def test_with_login_required_middleware_people_can_reset_a_password_and_sign_up(
    https: Client, db: None, settings: Any
) -> None:
    required = "django.contrib.auth.middleware.LoginRequiredMiddleware"
    settings.MIDDLEWARE, settings.SIGN_UP = [*settings.MIDDLEWARE, required], True
    assert https.get("/test/").status_code == 302
    for page in ("login/", "password/reset/", "password/reset/sent/", "password/reset/x/y/",
                 "sign-up/", "sign-up/sent/", "sign-up/x/y/"):  # fmt: skip
        assert https.get(f"/accounts/{page}").status_code == 200, page
