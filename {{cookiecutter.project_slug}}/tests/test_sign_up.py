"""Sign-up by mail, and invitations: how people get an account."""

import threading
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch
from urllib.parse import urlencode

import django
import pytest
from django.contrib.auth.hashers import make_password
from django.contrib.auth.tokens import PasswordResetTokenGenerator
from django.core import mail
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

import accounts.mail
from accounts.models import Attempt, User
from tests.conftest import PASSWORD, choose_password, link_in_mail, post_login

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


def test_known_and_unknown_addresses_are_answered_alike(user: User, https: Client) -> None:
    User.objects.create_user("gone@example.com", PASSWORD, is_active=False)
    answers = []
    for email in ("nobody@example.com", "ADA@example.com", "gone@example.com"):
        with (
            CaptureQueriesContext(connection) as queries,
            patch.object(accounts.mail, "Thread", wraps=threading.Thread) as thread,
        ):
            response = ask(https, email)
        page = https.get(response.headers["Location"]).content
        answers.append((response.status_code, page, len(queries), thread.call_count))
    assert answers[0] == answers[1] == answers[2]
    new, *known = mail.outbox
    assert SIGN_UP in new.body
    for message in known:
        assert "you already have one" in message.body and SIGN_UP not in message.body


def test_two_links_for_one_address_make_one_account(https: Client, new_browser: Any) -> None:
    """Both were opened before the first of them was used."""
    ask(https)
    first, other = link_in_mail(), new_browser()
    ask(https)
    second: Any = other.get(link_in_mail(), follow=True)
    assert second.context["validlink"]
    assert choose_password(https, first, PASSWORD).status_code == 302
    form = {"new_password1": "another password", "new_password2": "another password"}
    response = other.post(second.request["PATH_INFO"], form)
    assert response.status_code == 200 and not response.context["validlink"]
    assert User.objects.get().check_password(PASSWORD)


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


def test_mails_are_bounded(https: Client) -> None:
    """Per address of the mail, for both kinds together, and per network of who asks."""
    for number in range(Attempt.MAIL_PER_NAME):
        assert ask(https, address=f"192.0.2.{number}").status_code == 302
    assert ask(https, address="192.0.2.99").status_code == 429
    assert https.post(RESET, {"email": "GRACE@example.com"}).status_code == 429
    for number in range(Attempt.MAIL_PER_ADDRESS):
        assert ask(https, f"{number}@example.com", f"2001:db8::{number}").status_code == 302
    assert ask(https, "last@example.com", "2001:db8::ffff").status_code == 429


@pytest.mark.skipif(django.VERSION < (6,), reason="Django 5.2 has no tasks")
def test_a_worker_sends_the_mail_where_there_is_one(
    user: User, https: Client, settings: Any
) -> None:
    """Every address is handed over, so that the time of the page tells nothing."""
    settings.TASKS = {"default": {"BACKEND": "django.tasks.backends.dummy.DummyBackend"}}
    from django.tasks import default_task_backend

    for email in ("ada@example.com", "nobody@example.com"):
        https.post(RESET, {"email": email})
        ask(https, email)
    assert not mail.outbox
    for result in default_task_backend.results:
        result.task.func(*result.args)
    assert [(message.to[0], message.subject.split()[0]) for message in mail.outbox] == [
        ("ada@example.com", "A"),
        ("ada@example.com", "Your"),
        ("nobody@example.com", "Your"),
    ]


ODD = [
    "",
    "no address",
    "a" * 10_000 + "@example.com",
    "a@" + "ä" * 300 + ".example",
    "a\0@example.com",
    "a@example.com\r\nBcc: b@example.com",
    "\u202eada@example.com",
    "ada@exa\u00admple.com",
    "ada@[192.0.2.1]\ud800",
    '"ada\r\n"@example.com',
]


@pytest.mark.parametrize("page", [SIGN_UP, RESET, "/accounts/login/"])
@pytest.mark.parametrize("email", ODD, ids=range(len(ODD)))
def test_odd_addresses_get_a_sentence(https: Client, page: str, email: str) -> None:
    raw = email.encode("utf-8", "surrogatepass")
    form = urlencode({"email": raw, "username": raw, "password": "x"})
    kind = "application/x-www-form-urlencoded"
    response: Any = https.post(page, form, kind, follow=True)
    assert response.status_code == 200
    assert response.context.get("form") is None or response.context["form"].errors
    assert all("\n" not in to for message in mail.outbox for to in message.to)
    assert len(mail.outbox) <= 1


SPELLINGS = ["GRACE@CAFÉ.example", "\uff47race@café.example", " grace@xn--caf-dma.example"]


@pytest.mark.parametrize("spelling", [*SPELLINGS, "grace@cafe\u0301.example"])
def test_spellings_of_one_address(https: Client, spelling: str) -> None:
    User.objects.create_user("grace@café.example", PASSWORD)
    assert ask(https, spelling).status_code == 302
    assert mail.outbox[0].to == ["grace@xn--caf-dma.example"]
    assert "you already have one" in mail.outbox[0].body
    assert post_login(https, spelling).status_code == 302


@pytest.mark.parametrize("uid", ["a", "AA", "gICA", "!!", "YQBi", "x" * 5000])
def test_odd_links(https: Client, uid: str) -> None:
    for path in (SIGN_UP, RESET):
        assert not works(https, f"{path}{uid}/cz-0/")
        assert not works(https, f"{path}{uid}/set-password/")


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
