"""Sign-up by mail, and invitations."""

from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest
from django.contrib.auth.tokens import PasswordResetTokenGenerator
from django.core import mail
from django.test import Client

import accounts.mail
from accounts.models import User
from accounts.throttle import ThrottledBackend
from tests.conftest import PASSWORD, choose_password, link_in_mail

pytestmark = [pytest.mark.django_db, pytest.mark.any_profile]

SIGN_UP, EMAIL = "/accounts/sign-up/", "grace@example.com"
USERS = "/admin/accounts/user/"


@pytest.fixture(autouse=True)
def _open(settings: Any) -> None:
    settings.SIGN_UP = True


def ask(client: Client) -> Any:
    return client.post(SIGN_UP, {"email": EMAIL})


def works(client: Client, link: str) -> bool:
    page: Any = client.get(link, follow=True)
    assert page.status_code == 200
    assert "no-store" in page.headers["Cache-Control"]
    return bool(page.context["validlink"])


def test_the_link_makes_the_account(https: Client, new_browser: Any) -> None:
    assert f'href="{SIGN_UP}"' in https.get("/accounts/login/").content.decode()
    https.post(SIGN_UP, {"email": "Grace@Example.COM"})
    link = link_in_mail()
    refused = choose_password(https, link, EMAIL)
    assert refused.status_code == 200 and "new_password2" in refused.context["form"].errors
    assert not User.objects.exists(), "the request alone made an account"
    assert choose_password(https, link, PASSWORD).headers["Location"] == "/dashboard/"
    assert EMAIL in https.get("/dashboard/").content.decode()
    user = User.objects.get()
    assert user.check_password(PASSWORD) and not user.is_staff
    assert not works(new_browser(), link), "the link worked twice"


class OwnBackend(ThrottledBackend):
    pass


def test_with_an_own_backend(https: Client, settings: Any) -> None:
    only_permissions = "django.contrib.auth.backends.BaseBackend"
    settings.AUTHENTICATION_BACKENDS = [only_permissions, f"{__name__}.OwnBackend"]
    ask(https)
    choose_password(https, link_in_mail(), PASSWORD)
    assert https.get("/dashboard/").status_code == 200


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


def test_odd_links_do_nothing(https: Client) -> None:
    for uid in ("a", "AA", "gICA", "!!", "YQBi", "x" * 5000):
        for end in ("cz-0", "set-password"):
            assert not works(https, f"{SIGN_UP}{uid}/{end}/"), uid
            assert not works(https, f"/accounts/password/reset/{uid}/{end}/"), uid


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


def invite(admin: Client, user: User) -> str:
    form = {"action": "invite", "_selected_action": [user.pk]}
    response: Any = admin.post(USERS, form, follow=True)
    return str(response.content.decode())


def test_an_invitation(
    admin: Client, https: Client, settings: Any, django_capture_on_commit_callbacks: Any
) -> None:
    settings.SIGN_UP = False
    assert 'href="add/?usable_password=false"' in admin.get(USERS).content.decode()
    form = {"email": EMAIL.upper(), "name": "Grace", "usable_password": "false"}
    with django_capture_on_commit_callbacks(execute=True):
        response: Any = admin.post(f"{USERS}add/", form)
    assert response.status_code == 302
    user = User.objects.get(email=EMAIL)
    assert not user.has_usable_password() and user.name == "Grace"
    assert [message.to for message in mail.outbox] == [[EMAIL]]
    link = link_in_mail()
    assert choose_password(https, link, PASSWORD).headers["Location"] == "/dashboard/"
    assert not works(https, link)
    invite(admin, user)
    assert len(mail.outbox) == 1, "an account with a password was invited"


def test_an_invitation_again_and_one_that_is_revoked(admin: Client, https: Client) -> None:
    user = User.objects.create_user(EMAIL)
    assert f"Invited {EMAIL}." in invite(admin, user)
    assert works(https, link_in_mail())
    for user.is_active in (False, True):
        user.save()
        assert not works(https, link_in_mail())


def test_an_account_whose_password_was_disabled_is_not_invited(
    admin: Client, https: Client, new_browser: Any
) -> None:
    """A link must not give a password to an account of an identity provider, either."""
    user = User.objects.create_user(EMAIL)
    for _again in range(2):
        ask(https)
        assert (len(mail.outbox), "sign-up" in mail.outbox[-1].body) == (1, False)
        invite(admin, user)
        assert choose_password(new_browser(), link_in_mail(), PASSWORD).status_code == 302
        user.refresh_from_db()
        user.set_unusable_password()
        user.save()
        mail.outbox.clear()


def test_invitations_stop_when_the_mail_server_fails(admin: Client) -> None:
    users = [User.objects.create_user(f"guest{number}@example.com") for number in range(3)]
    form = {"action": "invite", "_selected_action": [user.pk for user in users]}
    errors = [1, TimeoutError("timed out")]
    with patch.object(accounts.mail.EmailMessage, "send", side_effect=errors) as sent:
        text = admin.post(USERS, form, follow=True).content.decode()
    assert sent.call_count == 2
    assert "timed out. 1 of 3 invitations were sent." in text
