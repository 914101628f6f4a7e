"""Headers: what browsers are told, on every kind of page, and what pages may not hold."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template import RequestContext, Template
from django.test import AsyncClient, Client, override_settings
from django.urls import path
from django.views.decorators.clickjacking import xframe_options_exempt, xframe_options_sameorigin
from outlast.csp import CSP, csp_override

from accounts.models import User
from config import urls

POLICY = "Content-Security-Policy"
DEFAULT = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; frame-ancestors 'none'; object-src 'none'"
)
PUBLIC = ["/accounts/login/", "/accounts/password/reset/", "/accounts/password/reset/sent/"]
PRIVATE = ["/dashboard/", "/accounts/password/change/"]
ADMIN = ["/admin/", "/admin/accounts/user/", "/admin/accounts/user/add/"]
INLINE = re.compile(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=|javascript:", re.I)


def broken(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("on purpose")


def forbidden(request: HttpRequest) -> HttpResponse:
    raise PermissionDenied


def own_policy(request: HttpRequest) -> HttpResponse:
    return HttpResponse(headers={POLICY: "default-src 'none'"})


@csp_override({"default-src": [CSP.SELF, CSP.UNSAFE_INLINE]})
def overridden(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


def with_nonce(request: HttpRequest) -> HttpResponse:
    template = Template('<script nonce="{{ csp_nonce }}"></script>')
    return HttpResponse(template.render(RequestContext(request)))


def plain(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


urlpatterns = [
    *urls.urlpatterns,
    path("broken/", broken),
    path("forbidden/", forbidden),
    path("own/", own_policy),
    path("overridden/", overridden),
    path("nonce/", with_nonce),
    path("framed/", xframe_options_sameorigin(plain)),
    path("anywhere/", xframe_options_exempt(plain)),
]
handler400 = urls.handler400
handler403 = urls.handler403
handler404 = urls.handler404
handler500 = urls.handler500


@pytest.fixture
def admin(db: None, https: Client) -> Client:
    """The browser of a user who may open every page."""
    https.force_login(User.objects.create_superuser("root@example.com", "x"))
    return https


@pytest.mark.parametrize("page", PRIVATE + ADMIN)
def test_pages_say_it_and_obey_it(admin: Client, page: str) -> None:
    response = admin.get(page)
    assert response.status_code == 200
    _says_it(response)
    assert not INLINE.search(response.content.decode())


@pytest.mark.django_db
@pytest.mark.parametrize("page", [*PUBLIC, "/nowhere/", "/admin/login/"])
def test_public_pages_say_it_and_obey_it(https: Client, page: str) -> None:
    response = https.get(page)
    _says_it(response)
    assert not INLINE.search(response.content.decode())


def test_servers_of_both_kinds_say_it(settings: Any) -> None:
    settings.SECURE_SSL_REDIRECT = False
    host = settings.ALLOWED_HOSTS[0]
    _says_it(async_to_sync(AsyncClient(headers={"host": host}).get)("/nowhere/"))


def _says_it(response: Any) -> None:
    # The admin of Django 6 uses nonces.
    assert re.sub(r" 'nonce-[\w-]+'", "", response.headers[POLICY]) == DEFAULT
    assert "camera=()" in response.headers["Permissions-Policy"]
    assert response.headers["Referrer-Policy"] == "same-origin"
    assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


@override_settings(ROOT_URLCONF=__name__)
@pytest.mark.parametrize(("page", "status"), [("/broken/", 500), ("/nowhere/", 404)])
def test_debug_pages_work_and_only_they_go_without(
    https: Client, settings: Any, page: str, status: int
) -> None:
    https.raise_request_exception = False
    for debug in (False, True):
        settings.DEBUG = debug
        response = https.get(page)
        assert response.status_code == status
        assert (POLICY in response.headers) is not debug
        assert (b"<style" in response.content) is debug
        _says_it(https.get("/favicon.ico"))


@override_settings(ROOT_URLCONF=__name__)
def test_a_view_may_have_its_own(https: Client) -> None:
    assert https.get("/own/").headers[POLICY] == "default-src 'none'"
    assert https.get("/overridden/").headers[POLICY] == "default-src 'self' 'unsafe-inline'"


@override_settings(ROOT_URLCONF=__name__)
def test_the_nonce_of_a_template_is_in_the_policy(https: Client) -> None:
    response = https.get("/nonce/")
    nonce = re.findall(r'nonce="([\w-]+)"', response.content.decode())[0]
    assert f"script-src 'self' 'nonce-{nonce}';" in response.headers[POLICY]


@override_settings(ROOT_URLCONF=__name__)
def test_frames_follow_the_decorators_of_django(https: Client) -> None:
    framed, anywhere = https.get("/framed/"), https.get("/anywhere/")
    assert "frame-ancestors 'self'" in framed.headers[POLICY]
    assert framed.headers["X-Frame-Options"] == "SAMEORIGIN"
    assert "frame-ancestors" not in anywhere.headers[POLICY]
    assert "X-Frame-Options" not in anywhere.headers


@pytest.mark.parametrize("page", PRIVATE)
def test_private_pages_are_not_kept_by_browsers(admin: Client, page: str) -> None:
    assert "no-store" in admin.get(page).headers["Cache-Control"]


@pytest.mark.django_db
def test_each_error_has_its_page_without_session_or_database(
    new_browser: Callable[[], Client], django_assert_num_queries: Any
) -> None:
    browser = new_browser()
    browser.raise_request_exception = False
    browser.handler.enforce_csrf_checks = True
    with override_settings(ROOT_URLCONF=__name__), django_assert_num_queries(0):
        pages = {
            "There is no such page": browser.get("/nowhere/"),
            "Something went wrong": browser.get("/broken/"),
            "You may not open this page": browser.get("/forbidden/"),
            "This form was out of date": browser.post("/accounts/login/"),
        }
    assert [page.status_code for page in pages.values()] == [404, 500, 403, 403]
    for text, page in pages.items():
        assert text in page.content.decode()
        assert "/static/css/site.css" in page.content.decode()
