"""Response headers, on every kind of page, and pages without inline code."""

import re
from typing import Any

import pytest
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path
from django.views.decorators.clickjacking import xframe_options_exempt, xframe_options_sameorigin

from config import urls
from config.urls import handler400, handler403, handler404, handler500

__all__ = ["handler400", "handler403", "handler404", "handler500"]

POLICY = "Content-Security-Policy"
DEFAULT = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; frame-ancestors 'none'; object-src 'none'"
)
PUBLIC = ["/accounts/login/", "/accounts/password/reset/", "/accounts/password/reset/sent/"]
PRIVATE = ["/dashboard/", "/accounts/password/change/", "/accounts/sessions/"]
ADMIN = ["/admin/", "/admin/accounts/user/", "/admin/accounts/user/add/"]
INLINE = re.compile(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=|javascript:", re.I)


def broken(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("on purpose")


def forbidden(request: HttpRequest) -> HttpResponse:
    raise PermissionDenied


def say(request: HttpRequest) -> HttpResponse:
    for number in range(150):
        messages.info(request, f"This is message {number:03}.")
    return HttpResponse()


urlpatterns = [
    *urls.urlpatterns,
    path("broken/", broken),
    path("forbidden/", forbidden),
    path("framed/", xframe_options_sameorigin(lambda request: HttpResponse())),
    path("anywhere/", xframe_options_exempt(lambda request: HttpResponse())),
    path("messages/", say),
]


@pytest.fixture(autouse=True)
def _pages(settings: Any) -> None:
    settings.ROOT_URLCONF = __name__


def check(response: Any) -> None:
    # The admin of Django 6 uses nonces.
    assert re.sub(r" 'nonce-[\w-]+'", "", response.headers[POLICY]) == DEFAULT
    assert "camera=()" in response.headers["Permissions-Policy"]
    assert response.headers["Referrer-Policy"] == "same-origin"
    assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_pages_have_the_headers_and_no_inline_code(admin: Client, https: Client) -> None:
    for browser, pages in ((admin, PRIVATE + ADMIN), (https, [*PUBLIC, "/x/", "/admin/login/"])):
        for page in pages:
            response = browser.get(page)
            check(response)
            assert not INLINE.search(response.content.decode()), page
            assert page not in PRIVATE or "no-store" in response.headers["Cache-Control"]


def test_frames_follow_the_decorators_of_django(https: Client, settings: Any) -> None:
    settings.SECURE_CSP_REPORT_ONLY = settings.SECURE_CSP
    framed, anywhere = https.get("/framed/"), https.get("/anywhere/")
    assert framed.headers["X-Frame-Options"] == "SAMEORIGIN"
    for policy in (POLICY, f"{POLICY}-Report-Only"):
        assert "frame-ancestors 'self'" in framed.headers[policy]
        assert "frame-ancestors *" in anywhere.headers[policy]
    assert "X-Frame-Options" not in anywhere.headers


@pytest.mark.django_db
def test_error_pages_need_no_session_and_no_database(
    https: Client, django_assert_num_queries: Any
) -> None:
    https.raise_request_exception = False
    https.handler.enforce_csrf_checks = True
    with django_assert_num_queries(0):
        pages = {
            "Page not found": (404, https.get("/nowhere/")),
            "Something went wrong": (500, https.get("/broken/")),
            "You do not have permission to open this page": (403, https.get("/forbidden/")),
            "This form is out of date": (403, https.post("/accounts/login/")),
        }
    for text, (status, page) in pages.items():
        assert page.status_code == status and text in page.content.decode()
        assert "/static/css/site.css" in page.content.decode()


def test_all_of_many_messages_are_shown(admin: Client) -> None:
    admin.get("/messages/")
    page = admin.get("/dashboard/").content.decode()
    assert [f"message {number:03}." in page for number in range(150)] == [True] * 150
