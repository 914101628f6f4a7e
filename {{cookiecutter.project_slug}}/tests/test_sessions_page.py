"""Your sessions: what the page lists, what it ends, and for whom."""

from collections.abc import Callable
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
from tests.conftest import PASSWORD

pytestmark = pytest.mark.django_db

PAGE = "/accounts/sessions/"
OTHERS = "/accounts/sessions/end-others/"
# A fixed name: the workers of pytest-xdist must collect the same tests.
UNKNOWN = f"{PAGE}3453a714-02c5-4ecb-abc5-c4a6390e8ad4/end/"
MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)"
WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0"
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15"
ANDROID = "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko)"


@pytest.mark.parametrize(
    ("user_agent", "words"),
    [
        (FIREFOX, ("Firefox", "Linux")),
        (f"{MAC} Version/26.0 Safari/605.1.15", ("Safari", "macOS")),
        (f"{WINDOWS} Chrome/141.0.0.0 Safari/537.36", ("Chrome", "Windows")),
        (f"{WINDOWS} Chrome/141.0.0.0 Safari/537.36 Edg/141.0.0.0", ("Edge", "Windows")),
        (f"{WINDOWS} Chrome/141.0.0.0 Safari/537.36 OPR/124.0.0.0", ("Opera", "Windows")),
        (f"{PHONE} CriOS/141.0 Mobile/15E148 Safari/604.1", ("Chrome", "iPhone")),
        (f"{PHONE} FxiOS/143.0 Mobile/15E148 Safari/605.1.15", ("Firefox", "iPhone")),
        (f"{ANDROID} Chrome/141.0.0.0 Mobile Safari/537.36", ("Chrome", "Android")),
        (
            f"{ANDROID} SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36",
            ("Samsung Internet", "Android"),
        ),
        ("curl/8.16.0", ("curl", "")),
        ("python-httpx/0.28.1", ("python-httpx", "")),
        ("Mozilla/5.0", ("", "")),
        ("<script>alert(1)</script>", ("", "")),
        ("", ("", "")),
    ],
)
def test_browsers_in_words(user_agent: str, words: tuple[str, str]) -> None:
    assert browsers.describe(user_agent) == words


@pytest.fixture
def log_in(user: User, new_browser: Callable[[], Client]) -> Callable[..., Client]:
    """A function that logs a person in with one more browser."""

    def log_in(user_agent: str = FIREFOX, email: str = user.email, **environ: Any) -> Client:
        client = new_browser()
        client.defaults |= {"HTTP_USER_AGENT": user_agent, **environ}
        form = {"username": email, "password": PASSWORD}
        assert client.post("/accounts/login/", form).status_code == 302
        return client

    return log_in


def logged_in(client: Client) -> bool:
    return client.get("/dashboard/").status_code == 200


def end(client: Client, ended: Client) -> HttpResponse:
    row = Session.objects.get(session_key=ended.session.session_key)
    return client.post(f"{PAGE}{row.public_id}/end/")


def test_it_lists_where_one_is_logged_in(log_in: Callable[..., Client]) -> None:
    here = log_in(REMOTE_ADDR="192.0.2.1")
    log_in(f"{MAC} Version/26.0 Safari/605.1.15", REMOTE_ADDR="198.51.100.7")
    log_in("<script>alert(1)</script>", REMOTE_ADDR="")
    response = here.get(PAGE)
    page = response.content.decode()
    for text in ("Firefox on Linux", "Safari on macOS", "Unknown browser"):
        assert page.count(text) == 1
    assert "192.0.2.1" in page and "198.51.100.7" in page and "<script>alert" not in page
    first, *others = response.context["sessions"]
    assert first.is_this and not any(other.is_this for other in others)
    assert page.count("This one") == 1
    for session in Session.objects.all():
        assert session.session_key not in page


def test_what_is_over_is_not_listed(log_in: Callable[..., Client]) -> None:
    here, there = log_in(), log_in()
    Session.objects.filter(session_key=there.session.session_key).update(
        expire_date=timezone.now() - timedelta(seconds=1)
    )
    assert len(here.get(PAGE).context["sessions"]) == 1


def test_nobody_sees_or_ends_the_sessions_of_others(log_in: Callable[..., Client]) -> None:
    User.objects.create_user("grace@example.com", PASSWORD)
    ada, grace = log_in(), log_in(email="grace@example.com")
    assert len(grace.get(PAGE).context["sessions"]) == 1
    assert end(grace, ada).status_code == 302
    assert grace.post(OTHERS).status_code == 302
    assert logged_in(ada) and logged_in(grace)


def test_ending_one_ends_it_at_once(log_in: Callable[..., Client]) -> None:
    here, there, third = log_in(), log_in(), log_in()
    key = there.session.session_key
    response = end(here, there)
    assert response["Location"] == PAGE
    assert b"One session has ended." in here.get(PAGE).content
    assert not logged_in(there)
    assert not Session.objects.filter(session_key=key).exists()
    assert logged_in(here) and logged_in(third)


def test_ending_all_others(log_in: Callable[..., Client]) -> None:
    here, *others = log_in(), log_in(), log_in()
    assert here.post(OTHERS).status_code == 302
    assert b"2 sessions have ended." in here.get(PAGE).content
    assert logged_in(here) and not any(map(logged_in, others))


def test_ending_ones_own_is_a_logout(log_in: Callable[..., Client]) -> None:
    here = log_in()
    assert end(here, here)["Location"] == "/accounts/login/"
    assert not logged_in(here)


def test_a_session_that_is_gone_already(log_in: Callable[..., Client]) -> None:
    here = log_in()
    assert here.post(UNKNOWN)["Location"] == PAGE
    assert b"no such session" in here.get(PAGE).content


def age(client: Client, minutes: int) -> None:
    """Let the last login of a browser have been some minutes ago."""
    Session.objects.filter(session_key=client.session.session_key).update(
        authenticated=timezone.now() - timedelta(minutes=minutes)
    )


def test_some_time_after_the_login_the_password_is_asked_for(
    log_in: Callable[..., Client],
) -> None:
    here, there = log_in(), log_in()
    age(here, minutes=16)
    assert b"Confirm your password" in here.get(PAGE).content
    assert end(here, there)["Location"] == "/accounts/confirm/"
    assert here.post(OTHERS)["Location"] == "/accounts/confirm/"
    assert logged_in(there)
    wrong = here.post("/accounts/confirm/", {"password": "wrong"})
    assert b"This is not your password." in wrong.content
    assert end(here, there)["Location"] == "/accounts/confirm/"
    former = here.session.session_key
    assert here.post("/accounts/confirm/", {"password": PASSWORD})["Location"] == PAGE
    assert here.session.session_key != former
    assert end(here, there)["Location"] == PAGE
    assert not logged_in(there) and logged_in(here)


def test_confirming_keeps_the_backend_and_the_session(
    log_in: Callable[..., Client], settings: Any
) -> None:
    """Not only where there is a single authentication backend to choose from."""
    settings.AUTHENTICATION_BACKENDS = [
        "django.contrib.auth.backends.ModelBackend",
        *settings.AUTHENTICATION_BACKENDS,
    ]
    here = log_in()
    used = here.session[BACKEND_SESSION_KEY]
    age(here, minutes=16)
    before = Session.objects.get()
    assert here.post("/accounts/confirm/", {"password": PASSWORD})["Location"] == PAGE
    after = Session.objects.get()
    assert after.session_key != before.session_key
    assert (after.created, after.public_id) == (before.created, before.public_id)
    assert after.authenticated > before.authenticated
    assert here.session[BACKEND_SESSION_KEY] == used


def test_guesses_there_are_throttled(log_in: Callable[..., Client]) -> None:
    here = log_in()
    for _ in range(4):
        assert here.post("/accounts/confirm/", {"password": "wrong"}).status_code == 200
    assert here.post("/accounts/confirm/", {"password": "wrong"}).status_code == 429
    assert here.post("/accounts/confirm/", {"password": PASSWORD}).status_code == 429


@pytest.mark.parametrize("page", [OTHERS, UNKNOWN])
def test_sessions_end_by_post_only_and_with_a_token(
    log_in: Callable[..., Client], page: str
) -> None:
    here, there = log_in(), log_in()
    assert here.get(page).status_code == 405
    here.handler.enforce_csrf_checks = True
    assert here.post(page).status_code == 403
    assert logged_in(there)


@pytest.mark.parametrize("page", [PAGE, OTHERS, UNKNOWN, "/accounts/confirm/"])
def test_strangers_are_sent_to_the_login(https: Client, page: str) -> None:
    for response in (https.get(page), https.post(page)):
        assert response["Location"].startswith("/accounts/login/?next=")


def test_administrators_end_all_sessions_of_users(
    user: User, log_in: Callable[..., Client]
) -> None:
    User.objects.create_superuser("root@example.com", PASSWORD)
    ada, admin = log_in(), log_in(email="root@example.com")
    form = {"action": "end_sessions", "_selected_action": [user.pk]}
    answer = admin.post("/admin/accounts/user/", form, follow=True)
    assert b"One session has ended." in answer.content
    assert not logged_in(ada) and logged_in(admin)
