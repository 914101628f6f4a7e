"""Your sessions: what the page lists, what it ends, and for whom."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import BACKEND_SESSION_KEY
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone
from outlast.models import Session

from accounts import browsers
from accounts.models import User
from tests.conftest import PASSWORD, is_logged_in

pytestmark = pytest.mark.django_db

LOGIN, PAGE = "/accounts/login/", "/accounts/sessions/"
OTHERS, CONFIRM = f"{PAGE}end-others/", "/accounts/confirm/"
UNKNOWN = f"{PAGE}3453a714-02c5-4ecb-abc5-c4a6390e8ad4/end/"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0"
SAFARI = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605 Version/26 Safari/605"
WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537 Chrome/141 Safari/537.36"


def row_of(browser: Client) -> Any:
    return Session.objects.filter(session_key=browser.session.session_key)


def age(browser: Client) -> None:
    """Let the last login of a browser have been some minutes ago."""
    row_of(browser).update(authenticated=timezone.now() - timedelta(minutes=16))


def end(browser: Client, ended: Client) -> HttpResponse:
    return browser.post(f"{PAGE}{row_of(ended).get().public_id}/end/")


@pytest.mark.parametrize(
    ("user_agent", "words"),
    [
        (FIREFOX, "Firefox on Linux"),
        (SAFARI, "Safari on macOS"),
        (WINDOWS, "Chrome on Windows"),
        (f"{WINDOWS} Edg/141.0.0.0", "Edge on Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) CriOS/1", "Chrome on iPhone"),
        ("Mozilla/5.0 (Linux; Android 10; K) Chrome/141.0.0.0 Safari/1", "Chrome on Android"),
        ("curl/8.16.0", "curl"),
        ("Mozilla/5.0", "an unknown browser"),
        ("<script>alert(1)</script>", "an unknown browser"),
        ("", "an unknown browser"),
    ],
)
def test_browsers_in_words(user_agent: str, words: str) -> None:
    assert browsers.describe(user_agent) == words


def test_it_lists_where_one_is_logged_in(log_in: Any) -> None:
    here = log_in(HTTP_USER_AGENT=FIREFOX, REMOTE_ADDR="192.0.2.1")
    log_in(HTTP_USER_AGENT=SAFARI, REMOTE_ADDR="198.51.100.7")
    log_in(HTTP_USER_AGENT="<script>alert(1)</script>", REMOTE_ADDR="")
    row_of(log_in()).update(expire_date=timezone.now() - timedelta(seconds=1))
    response = here.get(PAGE)
    page = response.content.decode()
    for text in ("Firefox on Linux", "Safari on macOS", "An unknown browser", "This session"):
        assert page.count(text) == 1
    assert "192.0.2.1" in page and "198.51.100.7" in page and "<script>alert" not in page
    assert [shown["is_this"] for shown in response.context["sessions"]] == [True, False, False]
    for session in Session.objects.all():
        assert session.session_key not in page


def test_nobody_sees_or_ends_the_sessions_of_others(log_in: Any) -> None:
    User.objects.create_user("grace@example.com", PASSWORD)
    ada, grace = log_in(), log_in("grace@example.com")
    assert len(grace.get(PAGE).context["sessions"]) == 1
    assert end(grace, ada).status_code == grace.post(OTHERS).status_code == 302
    assert is_logged_in(ada) and is_logged_in(grace)


def test_ending_sessions(log_in: Any, admin: Client, user: User) -> None:
    here, *others = [log_in() for _ in range(5)]
    assert end(here, others[0])["Location"] == PAGE
    assert b"One session has ended." in here.get(PAGE).content
    assert [is_logged_in(each) for each in others] == [False, True, True, True]
    assert here.post(OTHERS).status_code == 302
    assert b"3 sessions have ended." in here.get(PAGE).content
    assert not any(map(is_logged_in, others)) and is_logged_in(here)
    here.post(UNKNOWN)
    assert b"had already ended" in here.get(PAGE).content
    assert end(here, here)["Location"] == LOGIN  # one's own: a logout
    assert not is_logged_in(here)
    there = log_in()
    form = {"action": "end_sessions", "_selected_action": [user.pk]}
    assert b"One session has ended." in admin.post(
        "/admin/accounts/user/", form, follow=True
    ).content  # fmt: skip
    assert not is_logged_in(there)


def test_some_time_after_the_login_the_password_is_asked_for(log_in: Any) -> None:
    here, there = log_in(), log_in()
    age(here)
    assert b"Confirm your password" in here.get(PAGE).content
    assert b"Incorrect password." in here.post(CONFIRM, {"password": "wrong"}).content
    for answer in (end(here, there), here.post(OTHERS)):
        assert answer["Location"] == CONFIRM
    assert is_logged_in(there)
    assert here.post(CONFIRM, {"password": PASSWORD})["Location"] == PAGE
    assert end(here, there)["Location"] == PAGE
    assert not is_logged_in(there) and is_logged_in(here)


def test_confirming_keeps_the_backend_and_the_session(log_in: Any, settings: Any) -> None:
    """Not only where there is a single authentication backend to choose from."""
    settings.AUTHENTICATION_BACKENDS = [
        "django.contrib.auth.backends.ModelBackend",
        *settings.AUTHENTICATION_BACKENDS,
    ]
    here = log_in()
    used = here.session[BACKEND_SESSION_KEY]
    age(here)
    before = Session.objects.get()
    assert here.post(CONFIRM, {"password": PASSWORD})["Location"] == PAGE
    after = Session.objects.get()
    assert after.session_key != before.session_key and after.authenticated > before.authenticated
    assert (after.created, after.public_id) == (before.created, before.public_id)
    assert here.session[BACKEND_SESSION_KEY] == used
