"""Links by mail, to set a new password or to sign up: who gets one, and how often."""

import re
import threading
import time
from datetime import timedelta
from smtplib import SMTPServerDisconnected
from typing import Any
from unittest.mock import patch
from urllib.parse import urlencode

import django
import pytest
from django.core import mail
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from outlast.mail import ConsoleBackend

import accounts.mail
from accounts.models import Attempt, User
from tests.conftest import PASSWORD, post_login

pytestmark = [pytest.mark.django_db, pytest.mark.any_profile]

SIGN_UP, RESET = "/accounts/sign-up/", "/accounts/password/reset/"


@pytest.fixture(autouse=True)
def _open(settings: Any) -> None:
    settings.SIGN_UP = True


def ask(client: Client, page: str, email: str, address: str = "192.0.2.1") -> Any:
    return client.post(page, {"email": email}, REMOTE_ADDR=address)


@pytest.mark.parametrize("page", [SIGN_UP, RESET])
def test_all_addresses_get_the_same_response(user: User, https: Client, page: str) -> None:
    """The same page after the same queries, and a thread even without a mail."""
    User.objects.create_user("gone@example.com", PASSWORD, is_active=False)
    User.objects.create_user("none@example.com", None)
    answers = set()
    for name in ("ADA", "stranger", "gone", "none"):
        with (
            CaptureQueriesContext(connection) as queries,
            patch.object(accounts.mail, "Thread", wraps=threading.Thread) as thread,
        ):
            response = ask(https, page, f"{name}@example.com")
        sent = https.get(response["Location"]).content
        answers.add((response.status_code, sent, len(queries), thread.call_count))
    assert len(answers) == 1
    known = {message.to[0].partition("@")[0]: message.body for message in mail.outbox}
    if page == RESET:
        assert list(known) == ["ada"]
    else:
        assert [name for name, body in known.items() if SIGN_UP in body] == ["stranger"]
        assert all("you already have one" in known[name] for name in ("ada", "gone"))


@pytest.mark.parametrize("email", ["ada@example.com", "stranger@example.com"])
def test_mails_are_bounded(user: User, https: Client, email: str) -> None:
    """Per email address, for both kinds together, and per network of the client."""
    for number in range(Attempt.MAIL_PER_NAME):
        assert ask(https, RESET, email, f"192.0.2.{number}").status_code == 302
    sent = len(mail.outbox)
    for page in (RESET, SIGN_UP):
        response = ask(https, page, email.upper(), "192.0.2.99")
        assert response.status_code == 429 and len(mail.outbox) == sent
        assert 59 * 60 < int(response.headers["Retry-After"]) <= 3600
    # Refused requests do not count.
    first = Attempt.objects.filter(name=email).earliest("at")
    Attempt.objects.filter(pk=first.pk).update(at=timezone.now() - timedelta(hours=1))
    assert ask(https, RESET, email).status_code == 302
    for number in range(Attempt.MAIL_PER_ADDRESS):
        answer = ask(https, SIGN_UP, f"{number}@example.com", f"2001:db8::{number}")
        assert answer.status_code == 302
    assert ask(https, SIGN_UP, "last@example.com", "2001:db8::ffff").status_code == 429


def test_the_page_takes_the_same_time_and_does_not_wait_for_the_mail_server(
    user: User, https: Client, settings: Any
) -> None:
    settings.MAIL_SECONDS = 0.1
    answers, sent = threading.Event(), threading.Event()

    def send(message: mail.EmailMessage) -> None:
        assert answers.wait(10)
        sent.set()

    with patch.object(mail.EmailMessage, "send", send):
        for email in (user.email, "stranger@example.com"):
            began = time.monotonic()
            assert ask(https, RESET, email).status_code == 302
            assert time.monotonic() - began >= 0.1
        assert not sent.is_set()
        answers.set()
        assert sent.wait(10)


def test_a_failing_mail_server_gives_the_same_page(user: User, https: Client, caplog: Any) -> None:
    with patch.object(mail.EmailMessage, "send", side_effect=SMTPServerDisconnected):
        assert ask(https, RESET, user.email).status_code == 302
    assert "Mail could not be sent" in caplog.text


def test_in_development_the_link_is_printed_to_the_console(
    user: User, https: Client, capsys: Any
) -> None:
    ask(https, RESET, user.email)
    ConsoleBackend().send_messages(mail.outbox)
    printed = capsys.readouterr().out
    assert "To: ada@example.com\nSubject: Choose a new password" in printed
    link = re.search(r"^https?://[^/]+(/\S+/reset/\S+/)$", printed, re.M)
    assert link and https.get(link[1], follow=True).context["validlink"]


@pytest.mark.skipif(django.VERSION < (6,), reason="Django 5.2 has no tasks")
def test_a_worker_sends_the_mail_if_there_is_one(user: User, https: Client, settings: Any) -> None:
    """It gets every address, so that the time of the page reveals nothing."""
    settings.TASKS = {"default": {"BACKEND": "django.tasks.backends.dummy.DummyBackend"}}
    from django.tasks import default_task_backend

    for email in ("ada@example.com", "stranger@example.com"):
        ask(https, RESET, email)
        ask(https, SIGN_UP, email)
    assert not mail.outbox
    for result in default_task_backend.results:
        result.task.func(*result.args)
    assert [(message.to[0], message.subject.split()[0]) for message in mail.outbox] == [
        ("ada@example.com", "Choose"),
        ("ada@example.com", "Your"),
        ("stranger@example.com", "Your"),
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


@pytest.mark.parametrize("spelling", ["GRACE@CAFÉ.example", " grace@xn--caf-dma.example"])
def test_spellings_of_one_address(https: Client, spelling: str) -> None:
    User.objects.create_user("grace@café.example", PASSWORD)
    assert ask(https, SIGN_UP, spelling).status_code == 302
    assert mail.outbox[0].to == ["grace@xn--caf-dma.example"]
    assert "you already have one" in mail.outbox[0].body
    assert post_login(https, spelling).status_code == 302
