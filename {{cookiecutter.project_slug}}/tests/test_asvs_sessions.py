"""OWASP ASVS 5.0, chapter 7 (session management), requirement by requirement.

Those of single pages are tested with the pages: 7.4.3 in test_passwords.py, 7.4.5 and
7.5.2 in test_sessions_page.py. 7.1 is answered in docs/security.md. 7.6 is about logins
at another site, which this one does not offer.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone
from outlast.models import Session

from accounts.models import User
from tests.conftest import PASSWORD

pytestmark = pytest.mark.django_db

LOGIN = "/accounts/login/"
PRIVATE = [
    "/dashboard/",
    "/accounts/sessions/",
    "/accounts/confirm/",
    "/accounts/password/change/",
    "/admin/",
]


def log_in(client: Client, email: str = "ada@example.com", **form: str) -> Any:
    form = {"username": email, "password": PASSWORD} | form
    return client.post(LOGIN, form)


def key(client: Client) -> str:
    return client.cookies[settings.SESSION_COOKIE_NAME].value


def with_key(browser: Client, session_key: str) -> Client:
    browser.cookies[settings.SESSION_COOKIE_NAME] = session_key
    return browser


def logged_in(client: Client) -> bool:
    return client.get("/dashboard/").status_code == 200


# --- 7.2 Fundamental session management security ---


def test_7_2_1_tokens_are_verified_here(user: User, new_browser: Callable[[], Client]) -> None:
    """A token is worth what its row is, nothing else."""
    for token in ("", "x", "a" * 32, "../../etc/passwd", "0" * 4000, "é" * 32):
        assert not logged_in(with_key(new_browser(), token))


def test_7_2_2_and_3_tokens_are_random(user: User, new_browser: Callable[[], Client]) -> None:
    """32 of 36 characters, from `secrets`: 165 bits, where 128 are asked for."""
    tokens = set()
    for _ in range(20):
        browser = new_browser()
        log_in(browser)
        tokens.add(key(browser))
    assert len(tokens) == 20
    assert all(len(token) == 32 for token in tokens)
    assert len(set("".join(tokens))) > 30


def test_7_2_4_login_makes_a_new_token_and_ends_the_old(
    user: User, new_browser: Callable[[], Client]
) -> None:
    browser = new_browser()
    anonymous = browser.session  # one that has been written down
    anonymous["cart"] = 1
    anonymous.save()
    browser = with_key(browser, anonymous.session_key)
    log_in(browser)
    assert key(browser) != anonymous.session_key
    assert browser.session["cart"] == 1
    assert not logged_in(with_key(new_browser(), anonymous.session_key))
    assert not Session.objects.filter(session_key=anonymous.session_key).exists()


@pytest.mark.parametrize("exists", [True, False])
def test_7_2_4_a_token_put_into_somebodys_browser_is_worth_nothing(
    user: User, new_browser: Callable[[], Client], exists: bool
) -> None:
    """Session fixation."""
    attacker, victim = new_browser(), new_browser()
    planted = "a" * 32
    if exists:
        session = attacker.session
        session.save()
        planted = session.session_key
    log_in(with_key(victim, planted))
    assert logged_in(victim) and key(victim) != planted
    assert not logged_in(with_key(attacker, planted))


# --- 7.3 Session timeout ---


@pytest.mark.parametrize(
    ("setting", "column"),
    [("SESSION_IDLE_SECONDS", "last_seen"), ("SESSION_ABSOLUTE_SECONDS", "authenticated")],
)
def test_7_3_sessions_time_out(user: User, https: Client, column: str, setting: str) -> None:
    """For how long by default: two weeks without a request, thirty days since the login."""
    log_in(https, remember="on")
    seconds = settings.OUTLAST[setting]
    assert 0 < seconds <= 30 * 24 * 3600
    for late, expected in ((-60, True), (60, False)):
        moment = timezone.now() - timedelta(seconds=seconds + late)
        Session.objects.filter(user=user).update(**{column: moment})
        assert logged_in(https) is expected


@pytest.mark.parametrize("remember", [True, False])
def test_7_3_remember_me_lasts_two_weeks_and_else_the_browser_decides(
    user: User, https: Client, remember: bool
) -> None:
    log_in(https, **({"remember": "on"} if remember else {}))
    cookie = https.cookies[settings.SESSION_COOKIE_NAME]
    assert cookie["max-age"] == (14 * 24 * 3600 if remember else "")


# --- 7.4 Session termination ---


def test_7_4_1_a_session_that_was_logged_out_cannot_be_resumed(
    user: User, new_browser: Callable[[], Client]
) -> None:
    browser = new_browser()
    log_in(browser)
    token = key(browser)
    assert logged_in(with_key(new_browser(), token))
    browser.post("/accounts/logout/")
    assert not logged_in(with_key(new_browser(), token))


@pytest.mark.parametrize("page", PRIVATE)
def test_7_4_1_the_back_button_shows_nothing(user: User, https: Client, page: str) -> None:
    user.is_staff = True
    user.save()
    log_in(https)
    cache_control = https.get(page)["Cache-Control"]
    assert "no-store" in cache_control and "private" in cache_control


@pytest.mark.parametrize("method", ["disabled", "disabled by the admin", "deleted"])
def test_7_4_2_the_end_of_an_account_ends_its_sessions(
    user: User, new_browser: Callable[[], Client], method: str
) -> None:
    browser = new_browser()
    log_in(browser)
    if method == "deleted":
        user.delete()
    elif method == "disabled":
        user.is_active = False
        user.save()
    else:
        admin = new_browser()
        admin.force_login(User.objects.create_superuser("root@example.com", "x"))
        page = f"/admin/accounts/user/{user.pk}/change/"
        moment = {"date_joined_0": "2026-01-01", "date_joined_1": "12:00:00"}
        assert admin.post(page, {"email": user.email, **moment}).status_code == 302
    assert not Session.objects.filter(session_key=key(browser)).exists()
    assert not logged_in(browser)


@pytest.mark.parametrize("page", PRIVATE)
def test_7_4_4_every_private_page_has_a_logout_button(
    user: User, https: Client, page: str
) -> None:
    user.is_staff = True
    user.save()
    log_in(https)
    assert "logout/" in https.get(page).content.decode()


def test_7_4_4_logging_out_by_a_link_is_refused(user: User, https: Client) -> None:
    """An image on a foreign page must not log anybody out."""
    log_in(https)
    assert https.get("/accounts/logout/").status_code == 405
    assert logged_in(https)


# --- What else the login has to hold ---


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example/",
        "///evil.example/",
        "http:///evil.example/",
        "/\\evil.example/",
        "\\\\evil.example/",
        "javascript:alert(1)",
        "data:text/html,x",
        " https://evil.example/",
        "https:evil.example",
    ],
)
def test_next_leads_nowhere_else(
    user: User, new_browser: Callable[[], Client], target: str
) -> None:
    assert log_in(new_browser(), next=target)["Location"] == "/dashboard/"
    browser = new_browser()
    log_in(browser)
    assert browser.get(LOGIN, {"next": target})["Location"] == "/dashboard/"


def test_next_leads_on_within_the_site(user: User, https: Client) -> None:
    page = https.get("/accounts/sessions/", follow=True)
    assert page.context["next"] == "/accounts/sessions/"
    assert 'name="next" value="/accounts/sessions/"' in page.content.decode()
    assert log_in(https, next="/accounts/sessions/")["Location"] == "/accounts/sessions/"


@pytest.mark.parametrize(
    "page",
    [
        LOGIN,
        "/accounts/logout/",
        "/accounts/confirm/",
        "/accounts/sessions/end-others/",
        "/accounts/password/change/",
        "/accounts/password/reset/",
        "/admin/login/",
    ],
)
def test_forms_of_other_sites_are_refused(user: User, https: Client, page: str) -> None:
    log_in(https)
    https.handler.enforce_csrf_checks = True
    assert https.post(page, {"username": "ada@example.com"}).status_code == 403
    assert logged_in(https)


def test_cookies_are_as_strict_as_the_scheme_allows(user: User, https: Client) -> None:
    """Over HTTPS browsers take them from this very host only, and never send them in clear."""
    https.get(LOGIN)
    log_in(https)
    for name in (settings.SESSION_COOKIE_NAME, settings.CSRF_COOKIE_NAME):
        cookie = https.cookies[name]
        assert cookie["httponly"] and cookie["samesite"] == "Lax"
        assert bool(cookie["secure"]) is settings.HTTPS
        assert name.startswith("__Host-") is settings.HTTPS
        assert cookie["path"] == "/" and not cookie["domain"]
