"""Passwords: how they are stored, changed and reset (OWASP ASVS 5, chapter 6)."""

import re
from typing import Any
from unittest.mock import patch

import pytest
from django.contrib.auth.hashers import get_hasher, make_password
from django.contrib.auth.tokens import PasswordResetTokenGenerator
from django.core import mail
from django.http import HttpResponse
from django.test import Client
from outlast.models import Session

from accounts.models import User
from config.settings import PASSWORD_HASHERS
from tests.conftest import (
    PASSWORD,
    choose_password,
    is_logged_in,
    key_of,
    link_in_mail,
    post_login,
)

pytestmark = [pytest.mark.django_db, pytest.mark.any_profile]

NEW = "a rather long new one"
LOGIN, CHANGE = "/accounts/login/", "/accounts/password/change/"
RESET = "/accounts/password/reset/"


def ask(client: Client) -> Any:
    return client.post(RESET, {"email": "ada@example.com"})


def change(client: Client, old: str = PASSWORD, new: str = NEW) -> HttpResponse:
    form = {"old_password": old, "new_password1": new, "new_password2": new}
    return client.post(CHANGE, form)


def test_older_hashes_are_replaced_at_login(user: User, https: Client, settings: Any) -> None:
    settings.PASSWORD_HASHERS = PASSWORD_HASHERS
    older = get_hasher("pbkdf2_sha256").encode(PASSWORD, "some salt", iterations=10)
    User.objects.filter(pk=user.pk).update(password=older)
    assert post_login(https).status_code == 302
    user.refresh_from_db()
    assert user.password.startswith("argon2$argon2id$v=19$m=65536,t=3,p=4$")


@pytest.mark.parametrize(
    "password",
    [
        "only lower case letters",  # 6.2.5: no rules of composition
        " Spaces at both ends ",  # 6.2.8: as it was typed
        "ǅ ﬁ İ Ⅻ ǅ ﬁ İ Ⅻ",
        "x y z " * 500,  # 6.2.9
    ],
)
def test_passwords_of_any_kind_are_kept_as_typed(user: User, https: Client, password: str) -> None:
    https.force_login(user)
    assert change(https, new=password).status_code == 302
    user.refresh_from_db()
    assert user.check_password(password)
    assert not user.check_password(password.swapcase()) and not user.check_password(password[:-1])


@pytest.mark.parametrize("bad", ["seven77", "password1", "9475829104", "ada@example.com"])
def test_bad_passwords_are_refused_at_their_field(user: User, https: Client, bad: str) -> None:
    """6.2.1, 6.2.4, 6.2.11: short, common, and made of the account's own words."""
    https.force_login(user)
    page = change(https, new=bad).content.decode()
    assert page.index('id="id_new_password2"') < page.index('id="id_new_password2_error"')
    (field,) = re.findall(r'<input[^>]*id="id_new_password2"[^>]*>', page)
    assert "id_new_password2_error" in field and 'aria-invalid="true"' in field
    user.refresh_from_db()
    assert user.check_password(PASSWORD)


def test_password_managers_can_fill_the_fields(user: User, https: Client, settings: Any) -> None:
    """6.2.6 and 6.2.7: hidden while typed, with the names that browsers know."""
    settings.SIGN_UP = True
    https.post("/accounts/sign-up/", {"email": "new@example.com"})
    anonymous = [https.get(address, follow=True) for address in (LOGIN, link_in_mail())]
    https.force_login(user)
    private = [https.get(address) for address in (CHANGE, "/accounts/confirm/")]
    found = []
    for page in (*anonymous, *private):
        found.append(re.findall(r"<input[^>]*password[^>]*>", page.content.decode()))
        for field in found[-1]:
            assert 'type="password"' in field and "onpaste" not in field
            assert re.search(r'autocomplete="(current|new)-password"', field)
    assert [len(fields) for fields in found] == [1, 2, 3, 1]


def test_changing_it_ends_the_other_sessions(log_in: Any, https: Client, settings: Any) -> None:
    """And the session keeps its backend, also if there are several."""
    settings.AUTHENTICATION_BACKENDS = [
        "django.contrib.auth.backends.RemoteUserBackend",
        *settings.AUTHENTICATION_BACKENDS,
    ]
    here, there = log_in(), log_in()
    former = key_of(here)
    assert b"has been changed" in here.get(change(here)["Location"]).content
    assert not is_logged_in(there) and key_of(here) != former
    assert [session.session_key for session in Session.objects.all()] == [key_of(here)]
    assert here.session["_auth_user_backend"] == "accounts.throttle.ThrottledBackend"
    answers = [post_login(https, password=each).status_code for each in (PASSWORD, NEW)]
    assert answers == [200, 302]


def test_a_reset_by_mail(log_in: Any, https: Client, settings: Any) -> None:
    there = log_in()
    settings.SITE_URL = "https://www.example.com"  # not the host of the request
    for _ in range(5):
        post_login(https, password="wrong")
    assert post_login(https).status_code == 429
    assert ask(https).status_code == 302
    (message,) = mail.outbox
    assert message.to == ["ada@example.com"]
    assert f"\nhttps://www.example.com{RESET}" in message.body and "60 minutes" in message.body
    link = link_in_mail()
    assert choose_password(https, link, NEW)["Location"] == LOGIN
    assert not is_logged_in(there)
    assert post_login(https, password=NEW).status_code == 302, "the reset unlocks the account"
    https.logout()
    assert b"no longer works" in https.get(link, follow=True).content, "it worked twice"


def test_a_link_does_nothing_after_the_account_was_disabled(user: User, https: Client) -> None:
    """Not even if the account is enabled again while the link would be valid."""
    ask(https)
    for user.is_active in (False, True):
        user.save(update_fields=["is_active"])
        assert not https.get(link_in_mail(), follow=True).context["validlink"]
    ask(https)
    assert https.get(link_in_mail(), follow=True).context["validlink"]


def test_a_link_used_twice_at_once_sets_one_password(user: User, https: Client) -> None:
    ask(https)
    check = PasswordResetTokenGenerator.check_token

    def other_is_faster(tokens: Any, found: User, token: str) -> bool:
        if right := check(tokens, found, token):
            User.objects.update(password=make_password("another password"))
        return right

    page: Any = https.get(link_in_mail(), follow=True)
    form = {"new_password1": NEW, "new_password2": NEW}
    with patch.object(PasswordResetTokenGenerator, "check_token", other_is_faster):
        response = https.post(page.request["PATH_INFO"], form)
    assert response.status_code == 200 and not response.context["validlink"]
    assert User.objects.get().check_password("another password")
