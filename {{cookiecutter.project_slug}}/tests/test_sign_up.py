"""Sign-up by mail, and invitations: how people get an account."""

from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest
from django.contrib.auth.hashers import make_password
from django.contrib.auth.tokens import PasswordResetTokenGenerator
from django.core import mail
from django.test import Client

import accounts.mail
from accounts.models import User
from tests.conftest import PASSWORD, choose_password, link_in_mail

pytestmark = [pytest.mark.django_db, pytest.mark.any_profile]

SIGN_UP, RESET, EMAIL = "/accounts/sign-up/", "/accounts/password/reset/", "grace@example.com"
USERS = "/admin/accounts/user/"


@pytest.fixture(autouse=True)
def _open(settings: Any) -> None:
    settings.SIGN_UP = True


def ask(client: Client, email: str = EMAIL, address: str = "192.0.2.1") -> Any:
    return client.post(SIGN_UP, {"email": email}, REMOTE_ADDR=address)


def works(client: Client, link: str) -> bool:
    page: Any = client.get(link, follow=True)
    assert page.status_code == 200
    assert "no-store" in page.headers["Cache-Control"]
    return bool(page.context["validlink"])


def test_from_the_address_to_the_dashboard(https: Client, new_browser: Any) -> None:
    assert f'href="{SIGN_UP}"' in https.get("/accounts/login/").content.decode()
    sent: Any = https.post(SIGN_UP, {"email": "Grace@Example.COM"}, follow=True)
    for page in (https.get(SIGN_UP), sent):
        assert "no-store" in page.headers["Cache-Control"]
    assert [message.to for message in mail.outbox] == [[EMAIL]]
    assert "60 minutes" in mail.outbox[0].body
    link = link_in_mail()
    refused = choose_password(https, link, EMAIL)
    assert refused.status_code == 200 and "new_password2" in refused.context["form"].errors
    assert not User.objects.exists()  # asking makes no account, the link does
    assert choose_password(https, link, PASSWORD).headers["Location"] == "/dashboard/"
    assert EMAIL in https.get("/dashboard/").content.decode()
    user = User.objects.get()
    assert user.email == EMAIL and user.check_password(PASSWORD)
    assert not user.is_staff and not user.is_superuser
    assert not works(new_browser(), link)  # once


def test_closed(https: Client, settings: Any) -> None:
    ask(https)
    settings.SIGN_UP = False
    assert https.get(SIGN_UP).status_code == ask(https).status_code == 404
    assert https.get(SIGN_UP + "sent/").status_code == 404
    assert "sign-up" not in https.get("/accounts/login/").content.decode()
    assert not works(https, link_in_mail())


def test_an_hour_later_the_link_does_nothing(https: Client) -> None:
    ask(https)
    late = datetime.now() + timedelta(seconds=3601)  # noqa: DTZ005, as Django does
    with patch.object(PasswordResetTokenGenerator, "_now", return_value=late):
        assert not works(https, link_in_mail())


def test_two_sign_ups_at_once_make_one_account(https: Client) -> None:
    save = User.save

    def other_is_faster(user: User, *args: Any, **kwargs: Any) -> None:
        with patch.object(User, "save", save):
            User.objects.create_user(EMAIL, "another password")
        save(user, *args, **kwargs)

    ask(https)
    with patch.object(User, "save", autospec=True, side_effect=other_is_faster):
        response = choose_password(https, link_in_mail(), PASSWORD)
    assert response.status_code == 200 and not response.context["validlink"]
    assert "_auth_user_id" not in https.session


def test_a_reset_link_used_twice_at_once_sets_one_password(user: User, https: Client) -> None:
    https.post(RESET, {"email": user.email})
    check = PasswordResetTokenGenerator.check_token

    def other_is_faster(tokens: Any, found: User, token: str) -> bool:
        if right := check(tokens, found, token):
            User.objects.update(password=make_password("another password"))
        return right

    page: Any = https.get(link_in_mail(), follow=True)
    form = {"new_password1": "my own password", "new_password2": "my own password"}
    with patch.object(PasswordResetTokenGenerator, "check_token", other_is_faster):
        response = https.post(page.request["PATH_INFO"], form)
    assert response.status_code == 200 and not response.context["validlink"]
    assert User.objects.get().check_password("another password")


# --- Invitations ---


def invite(admin: Client, user: User) -> str:
    form = {"action": "invite", "_selected_action": [user.pk]}
    response: Any = admin.post(USERS, form, follow=True)
    return str(response.content.decode())


def test_an_invitation(
    admin: Client, https: Client, settings: Any, django_capture_on_commit_callbacks: Any
) -> None:
    settings.SIGN_UP = False
    assert 'href="add/?invite=1"' in admin.get(USERS).content.decode()
    url = f"{USERS}add/?invite=1"
    assert "id_password1" not in admin.get(url).content.decode()
    with django_capture_on_commit_callbacks(execute=True):
        response: Any = admin.post(url, {"email": EMAIL.upper(), "name": "Grace"})
    assert response.status_code == 302
    user = User.objects.get(email=EMAIL)
    assert not user.has_usable_password() and user.name == "Grace"
    assert [message.to for message in mail.outbox] == [[EMAIL]]
    link = link_in_mail()
    assert choose_password(https, link, PASSWORD).headers["Location"] == "/dashboard/"
    user.refresh_from_db()
    assert user.check_password(PASSWORD)
    assert not works(https, link)
    invite(admin, user)  # not again: there is a password
    assert len(mail.outbox) == 1


def test_an_invitation_again_and_one_that_is_revoked(admin: Client, https: Client) -> None:
    user = User.objects.create_user(EMAIL)
    assert f"Invited {EMAIL}." in invite(admin, user)
    assert works(https, link_in_mail())
    for user.is_active in (False, True):
        user.save()
        assert not works(https, link_in_mail())
    with patch.object(accounts.mail.EmailMessage, "send", side_effect=ConnectionRefusedError):
        assert "could not be sent" in invite(admin, user)
