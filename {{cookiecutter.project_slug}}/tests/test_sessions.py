"""Sessions: how they begin and end (OWASP ASVS 5, chapter 7)."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone
from outlast.models import Session

from accounts.models import User
from tests.conftest import is_logged_in, key_of, post_login, with_key

pytestmark = pytest.mark.django_db

LOGIN, PAGE = "/accounts/login/", "/accounts/sessions/"
OTHERS, CONFIRM = f"{PAGE}end-others/", "/accounts/confirm/"
UNKNOWN = f"{PAGE}3453a714-02c5-4ecb-abc5-c4a6390e8ad4/end/"
PRIVATE = ["/dashboard/", PAGE, CONFIRM, "/accounts/password/change/", "/admin/"]


def row_of(browser: Client) -> Any:
    return Session.objects.filter(session_key=browser.session.session_key)


# --- 7.2: tokens ---


def test_tokens_are_random_and_verified_here(user: User, log_in: Any, new_browser: Any) -> None:
    """32 of 36 characters: 165 bits, where 128 are asked for."""
    tokens = {key_of(log_in()) for _ in range(20)}
    assert len(tokens) == 20 and {len(token) for token in tokens} == {32}
    assert len(set("".join(tokens))) > 30
    for token in ("", "x", "a" * 32, "../../etc/passwd", "0" * 4000, "é" * 32):
        assert not is_logged_in(with_key(new_browser(), token))


@pytest.mark.parametrize("exists", [True, False])
def test_login_makes_a_new_token_and_ends_the_old(
    user: User, new_browser: Callable[[], Client], exists: bool
) -> None:
    """The old one may be an attacker's: session fixation. What was in the session stays."""
    attacker, victim, planted = new_browser(), new_browser(), "a" * 32
    if exists:
        session = attacker.session
        session["cart"] = 1
        session.save()
        planted = session.session_key
    post_login(with_key(victim, planted))
    assert is_logged_in(victim) and key_of(victim) != planted
    assert victim.session.get("cart") == (1 if exists else None)
    assert not is_logged_in(with_key(attacker, planted))
    assert not Session.objects.filter(session_key=planted).exists()


# --- 7.3: time-outs ---


@pytest.mark.parametrize(
    ("setting", "column", "seconds"),
    [
        ("SESSION_IDLE_SECONDS", "last_seen", 14 * 24 * 3600),
        ("SESSION_ABSOLUTE_SECONDS", "authenticated", 30 * 24 * 3600),
    ],
)
def test_sessions_time_out(log_in: Any, column: str, setting: str, seconds: int) -> None:
    browser = log_in()
    assert settings.OUTLAST[setting] == seconds
    for late, expected in ((-60, True), (60, False)):
        Session.objects.update(**{column: timezone.now() - timedelta(seconds=seconds + late)})
        assert is_logged_in(browser) is expected


@pytest.mark.parametrize(("form", "age"), [({"remember": "on"}, 14 * 24 * 3600), ({}, "")])
def test_remember_me(user: User, https: Client, form: dict[str, str], age: Any) -> None:
    post_login(https, **form)
    assert https.cookies[settings.SESSION_COOKIE_NAME]["max-age"] == age


# --- 7.4: the end ---


def test_a_session_that_was_logged_out_cannot_be_resumed(log_in: Any, new_browser: Any) -> None:
    browser = log_in()
    token = key_of(browser)
    assert browser.get("/accounts/logout/").status_code == 405  # an image on a foreign page
    assert is_logged_in(with_key(new_browser(), token))
    browser.post("/accounts/logout/")
    assert not is_logged_in(with_key(new_browser(), token))


@pytest.mark.parametrize("page", PRIVATE)
def test_private_pages(user: User, https: Client, page: str) -> None:
    """They need a login, have a button to log out, and no browser keeps them."""
    assert "/login/?next=" in https.get(page)["Location"]
    user.is_staff = True
    user.save()
    https.force_login(user)
    answer = https.get(page)
    assert "no-store" in answer["Cache-Control"] and "private" in answer["Cache-Control"]
    assert "logout/" in answer.content.decode()


@pytest.mark.parametrize("method", ["disabled", "disabled in the admin", "deleted"])
def test_the_end_of_an_account_ends_its_sessions(
    user: User, log_in: Any, admin: Client, method: str
) -> None:
    browser = log_in()
    if method == "deleted":
        user.delete()
    elif method == "disabled":
        user.is_active = False
        user.save()
    else:
        page = f"/admin/accounts/user/{user.pk}/change/"
        moment = {"date_joined_0": "2026-01-01", "date_joined_1": "12:00:00"}
        assert admin.post(page, {"email": user.email, **moment}).status_code == 302
    assert not row_of(browser).exists()
    assert not is_logged_in(browser)


def test_other_changes_end_none(user: User, log_in: Any) -> None:
    browser = log_in()
    user.name = "Ada Lovelace"
    user.save()
    assert is_logged_in(browser)


# --- What else the login has to hold ---


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example/",
        "http:///evil.example/",
        "/\\evil.example/",
        "javascript:alert(1)",
        " https://evil.example/",
        "https:evil.example",
    ],
)
def test_next_leads_nowhere_else(user: User, https: Client, target: str) -> None:
    assert post_login(https, next=target)["Location"] == "/dashboard/"
    assert https.get(LOGIN, {"next": target})["Location"] == "/dashboard/"


def test_next_leads_on_within_the_site(user: User, https: Client) -> None:
    assert f'name="next" value="{PAGE}"' in https.get(PAGE, follow=True).content.decode()
    assert post_login(https, next=PAGE)["Location"] == PAGE


@pytest.mark.parametrize(
    "page",
    [
        *(LOGIN, "/accounts/logout/", CONFIRM, OTHERS, UNKNOWN, "/admin/login/"),
        *("/accounts/password/change/", "/accounts/password/reset/"),
    ],
)
def test_forms_of_other_sites_are_refused(log_in: Any, page: str) -> None:
    here, there = log_in(), log_in()
    here.handler.enforce_csrf_checks = True
    assert here.post(page, {"username": "ada@example.com"}).status_code == 403
    assert is_logged_in(here) and is_logged_in(there)


def test_cookies_are_as_strict_as_the_scheme_allows(user: User, https: Client) -> None:
    """Over HTTPS browsers take them from this very host only, and never send them in clear."""
    https.get(LOGIN)
    post_login(https)
    for name in (settings.SESSION_COOKIE_NAME, settings.CSRF_COOKIE_NAME):
        cookie = https.cookies[name]
        assert cookie["httponly"] and cookie["samesite"] == "Lax"
        assert bool(cookie["secure"]) is name.startswith("__Host-") is settings.HTTPS
        assert cookie["path"] == "/" and not cookie["domain"]
