"""Sessions: how they begin and end, and the page that lists and ends them (ASVS 5, chapter 7)."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import BACKEND_SESSION_KEY
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone
from outlast.models import Session

from accounts.models import User
from tests.conftest import PASSWORD, is_logged_in, post_login

pytestmark = pytest.mark.django_db

LOGIN, PAGE = "/accounts/login/", "/accounts/sessions/"
OTHERS, CONFIRM = f"{PAGE}end-others/", "/accounts/confirm/"
UNKNOWN = f"{PAGE}3453a714-02c5-4ecb-abc5-c4a6390e8ad4/end/"
PRIVATE = ["/dashboard/", PAGE, CONFIRM, "/accounts/password/change/", "/admin/"]
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0"
SAFARI = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605 Version/26 Safari/605"


def row_of(browser: Client) -> Any:
    return Session.objects.filter(session_key=browser.session.session_key)


def age(browser: Client) -> None:
    """Move the last login of a browser some minutes back."""
    row_of(browser).update(authenticated=timezone.now() - timedelta(minutes=16))


def end(browser: Client, ended: Client) -> HttpResponse:
    return browser.post(f"{PAGE}{row_of(ended).get().public_id}/end/")


@pytest.mark.parametrize("page", PRIVATE)
def test_private_pages(user: User, https: Client, page: str) -> None:
    """They need a login, have a button to log out, and are not stored by browsers."""
    assert "/login/?next=" in https.get(page)["Location"]
    user.is_staff = True
    user.save()
    https.force_login(user)
    answer = https.get(page)
    assert "no-store" in answer["Cache-Control"] and "private" in answer["Cache-Control"]
    assert "logout/" in answer.content.decode()
    assert https.get("/accounts/logout/").status_code == 405


@pytest.mark.parametrize("method", ["disabled", "deleted", "a new password"])
def test_changes_of_an_account_that_end_its_sessions(user: User, log_in: Any, method: str) -> None:
    browser = log_in()
    user.name = "Ada Lovelace"
    user.save()
    assert is_logged_in(browser), "other changes end no session"
    if method == "deleted":
        user.delete()
    else:
        user.is_active = method != "disabled"
        if user.is_active:
            user.set_password("a new password")
        user.save()
    assert not Session.objects.exists() and not is_logged_in(browser)


@pytest.mark.parametrize(
    "target",
    ["https://evil.example/", "//evil.example/", "/\\evil.example/", "javascript:alert(1)"],
)
def test_next_stays_within_the_site(user: User, https: Client, target: str) -> None:
    assert f'name="next" value="{PAGE}"' in https.get(PAGE, follow=True).content.decode()
    assert post_login(https, next=PAGE)["Location"] == PAGE
    assert all(each["httponly"] and each["samesite"] == "Lax" for each in https.cookies.values())
    assert https.get(LOGIN, {"next": target})["Location"] == "/dashboard/"
    assert post_login(https, next=target)["Location"] == "/dashboard/"


FORMS = [LOGIN, "/accounts/logout/", "/accounts/password/reset/", "/admin/login/", OTHERS, UNKNOWN]


@pytest.mark.parametrize("page", [*FORMS, CONFIRM, "/accounts/password/change/"])
def test_forms_of_other_sites_are_refused(log_in: Any, page: str) -> None:
    here, there = log_in(), log_in()
    here.handler.enforce_csrf_checks = True
    assert here.post(page, {"username": "ada@example.com"}).status_code == 403
    assert is_logged_in(here) and is_logged_in(there)


# --- The page "Your sessions" ---


def test_it_lists_the_sessions_of_its_user(log_in: Any) -> None:
    here = log_in(HTTP_USER_AGENT=FIREFOX, REMOTE_ADDR="192.0.2.1")
    log_in(HTTP_USER_AGENT=SAFARI, REMOTE_ADDR="198.51.100.7")
    log_in(HTTP_USER_AGENT="<script>alert(1)</script>")
    row_of(log_in()).update(expire_date=timezone.now() - timedelta(seconds=1))
    response = here.get(PAGE)
    page = response.content.decode()
    for text in ("Firefox on Linux", "Safari on macOS", "An unknown browser", "This session"):
        assert page.count(text) == 1
    assert "192.0.2.1" in page and "198.51.100.7" in page
    assert [shown["is_this"] for shown in response.context["sessions"]] == [True, False, False]
    assert not any(session.session_key in page for session in Session.objects.all())


def test_sessions_of_other_users_are_not_shown_or_ended(log_in: Any) -> None:
    User.objects.create_user("grace@example.com", PASSWORD)
    ada, grace = log_in(), log_in("grace@example.com")
    assert len(grace.get(PAGE).context["sessions"]) == 1
    assert end(grace, ada).status_code == grace.post(OTHERS).status_code == 302
    assert is_logged_in(ada) and is_logged_in(grace)


def test_ending_sessions(log_in: Any) -> None:
    here, *others = [log_in() for _ in range(4)]
    assert end(here, others[0])["Location"] == PAGE
    assert b"One session has ended." in here.get(PAGE).content
    assert [is_logged_in(each) for each in others] == [False, True, True]
    assert here.post(OTHERS).status_code == 302
    assert b"2 sessions have ended." in here.get(PAGE).content
    assert not any(map(is_logged_in, others)) and is_logged_in(here)
    here.post(UNKNOWN)
    assert b"had already ended" in here.get(PAGE).content
    assert end(here, here)["Location"] == LOGIN
    assert not is_logged_in(here)


def test_some_time_after_the_login_the_password_is_asked_for(log_in: Any, settings: Any) -> None:
    """Confirming keeps the session and its backend, also if there are several."""
    settings.AUTHENTICATION_BACKENDS = [
        "django.contrib.auth.backends.ModelBackend",
        *settings.AUTHENTICATION_BACKENDS,
    ]
    here, there = log_in(), log_in()
    age(here)
    assert b"Confirm your password" in here.get(PAGE).content
    assert b"Incorrect password." in here.post(CONFIRM, {"password": "wrong"}).content
    for answer in (end(here, there), here.post(OTHERS)):
        assert answer["Location"] == CONFIRM
    assert is_logged_in(there)
    before, backend = row_of(here).get(), here.session[BACKEND_SESSION_KEY]
    assert here.post(CONFIRM, {"password": PASSWORD})["Location"] == PAGE
    after = row_of(here).get()
    assert after.session_key != before.session_key and after.authenticated > before.authenticated
    assert (after.created, after.public_id) == (before.created, before.public_id)
    assert here.session[BACKEND_SESSION_KEY] == backend
    assert end(here, there)["Location"] == PAGE
    assert not is_logged_in(there) and is_logged_in(here)
