"""Passwords: how they are kept, changed, and replaced when they are forgotten."""

import os
import re
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from smtplib import SMTPServerDisconnected
from typing import Any
from unittest.mock import patch

import pytest
from django.contrib.auth import hashers
from django.contrib.auth.hashers import get_hasher, identify_hasher, make_password
from django.core import mail
from django.core.mail.backends.locmem import EmailBackend
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from outlast.models import Session

import accounts.mail
from accounts.hashers import Argon2PasswordHasher
from accounts.mail import ConsoleBackend
from accounts.models import Attempt, User
from config.settings import PASSWORD_HASHERS
from tests.conftest import PASSWORD

pytestmark = [pytest.mark.django_db, pytest.mark.any_profile]

NEW = "a rather long new one"
RESET = "/accounts/password/reset/"


def log_in(client: Client, password: str) -> bool:
    response = client.post(
        "/accounts/login/", {"username": "ada@example.com", "password": password}
    )
    return response.status_code == 302


def ask(
    client: Client, email: str = "ada@example.com", address: str = "192.0.2.1"
) -> HttpResponse:
    return client.post(RESET, {"email": email}, REMOTE_ADDR=address)


# --- Kept ---


def test_argon2id_at_64_mib(settings: Any) -> None:
    settings.PASSWORD_HASHERS = PASSWORD_HASHERS
    assert make_password("x").startswith("argon2$argon2id$v=19$m=65536,t=3,p=4$")


@pytest.mark.parametrize("method", ["encode", "verify"])
def test_no_more_hashes_at_once_than_there_are_processors(method: str) -> None:
    """Each takes 64 MiB, and anybody can ask for a hundred."""
    at_once: list[int] = []
    running = threading.Semaphore(0)
    done = threading.Event()

    def slow(*args: Any) -> str:
        at_once.append(1)
        running.release()
        assert done.wait(10)
        return ""

    slots = os.cpu_count() or 1
    hasher = Argon2PasswordHasher()
    with patch.object(hashers.Argon2PasswordHasher, method, slow):
        threads = [
            threading.Thread(target=getattr(hasher, method), args=("x", "y"))
            for _ in range(slots + 3)
        ]
        for thread in threads:
            thread.start()
        for _ in range(slots):
            assert running.acquire(timeout=10)
        assert not running.acquire(timeout=0.2)
        done.set()
        for thread in threads:
            thread.join(10)
    assert len(at_once) == slots + 3


@pytest.mark.parametrize(
    ("algorithm", "cost"), [("pbkdf2_sha256", {"iterations": 10}), ("scrypt", {"n": 2})]
)
def test_older_hashes_are_replaced_at_login(
    user: User, https: Client, settings: Any, algorithm: str, cost: dict[str, int]
) -> None:
    settings.PASSWORD_HASHERS = PASSWORD_HASHERS
    older = get_hasher(algorithm).encode(PASSWORD, "some salt", **cost)
    User.objects.filter(pk=user.pk).update(password=older)
    assert log_in(https, PASSWORD)
    user.refresh_from_db()
    assert identify_hasher(user.password).algorithm == "argon2"
    assert https.get("/dashboard/").status_code == 200


# --- Changed ---


def change(client: Client, old: str = PASSWORD, new: str = NEW) -> HttpResponse:
    form = {"old_password": old, "new_password1": new, "new_password2": new}
    return client.post("/accounts/password/change/", form)


def test_changing_it_ends_the_other_sessions(
    user: User, new_browser: Callable[[], Client]
) -> None:
    here, there = new_browser(), new_browser()
    assert log_in(here, PASSWORD) and log_in(there, PASSWORD)
    former = here.session.session_key
    response = change(here)
    assert response.status_code == 302
    assert b"has been changed" in here.get(response["Location"]).content
    assert there.get("/dashboard/").status_code == 302
    assert here.session.session_key != former
    keys = Session.objects.filter(user=user).values_list("session_key", flat=True)
    assert list(keys) == [here.session.session_key]
    assert not log_in(new_browser(), PASSWORD) and log_in(new_browser(), NEW)


def test_the_old_password_is_asked_for_and_guesses_are_counted(user: User, https: Client) -> None:
    https.force_login(user)
    for _ in range(4):
        response = change(https, old="wrong")
        assert "old_password" in response.context["form"].errors
    assert change(https, old="wrong").status_code == 429
    assert change(https).status_code == 429
    user.refresh_from_db()
    assert user.check_password(PASSWORD)


def test_the_session_keeps_its_backend(user: User, https: Client, settings: Any) -> None:
    settings.AUTHENTICATION_BACKENDS = [
        "django.contrib.auth.backends.RemoteUserBackend",
        *settings.AUTHENTICATION_BACKENDS,
    ]
    assert log_in(https, PASSWORD)
    assert https.session["_auth_user_backend"] == "accounts.throttle.ThrottledBackend"
    assert change(https).status_code == 302
    assert https.session["_auth_user_backend"] == "accounts.throttle.ThrottledBackend"
    assert https.get("/dashboard/").status_code == 200


@pytest.mark.parametrize("bad", ["short", "password123", "9475829104", "ada@example.com"])
def test_bad_passwords_are_refused_next_to_their_field(
    user: User, https: Client, bad: str
) -> None:
    https.force_login(user)
    page = change(https, new=bad).content.decode()
    error = page.index('id="id_new_password2_error"')
    assert page.index('id="id_new_password2"') < error
    described = re.search(r'<input[^>]*id="id_new_password2"[^>]*>', page)
    assert described and "id_new_password2_error" in described[0]
    assert 'aria-invalid="true"' in described[0]


def test_a_change_in_the_admin_ends_every_session(
    user: User, new_browser: Callable[[], Client]
) -> None:
    there, admin = new_browser(), new_browser()
    there.force_login(user)
    admin.force_login(User.objects.create_superuser("root@example.com", "x"))
    form = {"usable_password": "true", "password1": NEW, "password2": NEW}
    assert admin.post(f"/admin/accounts/user/{user.pk}/password/", form).status_code == 302
    assert not Session.objects.filter(user=user).exists()
    assert there.get("/dashboard/").status_code == 302


def test_the_admin_has_no_second_page_for_ones_own(user: User, https: Client) -> None:
    response = https.get("/admin/password_change/")
    assert response["Location"] == "/accounts/password/change/"


def test_a_disabled_user_has_no_sessions(user: User, https: Client) -> None:
    https.force_login(user)
    user.is_active = False
    user.save()
    assert not Session.objects.filter(user=user).exists()
    assert https.get("/dashboard/").status_code == 302


def test_other_changes_end_none(user: User, https: Client) -> None:
    https.force_login(user)
    user.name = "Ada Lovelace"
    user.save()
    assert https.get("/dashboard/").status_code == 200


# --- Forgotten ---


def test_a_link_by_mail_replaces_it(user: User, new_browser: Callable[[], Client]) -> None:
    there, here = new_browser(), new_browser()
    there.force_login(user)
    for _ in range(5):
        log_in(here, "wrong")
    assert not log_in(here, PASSWORD)  # the throttle
    assert ask(here).status_code == 302
    (message,) = mail.outbox
    assert message.to == ["ada@example.com"]
    link = re.search(r"https?://[^/]+(/\S+)", message.body)
    assert link
    page = here.get(link[1], follow=True)
    form = {"new_password1": NEW, "new_password2": NEW}
    response = here.post(page.request["PATH_INFO"], form, follow=True)
    assert response.redirect_chain == [("/accounts/login/", 302)]
    assert b"has been changed" in response.content
    assert there.get("/dashboard/").status_code == 302
    assert log_in(here, NEW)
    # It works once.
    assert b"does not work any more" in new_browser().get(link[1], follow=True).content


def test_the_link_leads_to_the_site_whatever_host_was_asked(
    user: User, https: Client, settings: Any
) -> None:
    settings.SITE_URL = "https://www.example.com"
    ask(https)
    assert "\nhttps://www.example.com/accounts/password/reset/" in mail.outbox[0].body


def test_a_link_is_good_for_an_hour(user: User, https: Client, settings: Any) -> None:
    assert settings.PASSWORD_RESET_TIMEOUT == 3600
    ask(https)
    assert "60 minutes" in mail.outbox[0].body


@pytest.mark.parametrize("email", ["nobody@example.com", "gone@example.com", "none@example.com"])
def test_unknown_addresses_are_answered_alike(user: User, https: Client, email: str) -> None:
    User.objects.create_user("gone@example.com", PASSWORD, is_active=False)
    User.objects.create_user("none@example.com", None)
    answers = []
    for name in ("ada@example.com", email):
        with (
            CaptureQueriesContext(connection) as queries,
            patch.object(accounts.mail, "Thread", wraps=threading.Thread) as thread,
        ):
            response = ask(https, name)
        answers.append((response.status_code, response["Location"], len(queries)))
        assert thread.call_count == 1  # mail or no mail
    assert answers[0] == answers[1]
    assert [message.to for message in mail.outbox] == [["ada@example.com"]]


class SlowBackend(EmailBackend):
    """A mail server that does not answer until it is told to."""

    go_on = threading.Event()

    def send_messages(self, messages: Any) -> int:
        assert self.go_on.wait(10)
        return super().send_messages(messages)


class BrokenBackend(EmailBackend):
    """A mail server that hangs up."""

    def send_messages(self, messages: Any) -> int:
        raise SMTPServerDisconnected("Connection unexpectedly closed")


def test_the_page_takes_its_time_and_does_not_wait_for_the_mail_server(
    user: User, https: Client, use_mail: Callable[[type], None], settings: Any
) -> None:
    use_mail(SlowBackend)
    settings.MAIL_SECONDS = 0.1
    times = []
    for email in ("ada@example.com", "nobody@example.com"):
        began = time.monotonic()
        assert ask(https, email).status_code == 302
        times.append(time.monotonic() - began)
    assert not mail.outbox
    assert min(times) >= 0.1
    SlowBackend.go_on.set()
    for thread in threading.enumerate():
        if thread.name == "mail":
            thread.join(10)
    assert len(mail.outbox) == 1


def test_a_mail_server_that_fails_gives_the_same_page(
    user: User, https: Client, use_mail: Callable[[type], None], caplog: Any
) -> None:
    use_mail(BrokenBackend)
    response = ask(https)
    assert response.status_code == 302
    assert https.get(response["Location"]).status_code == 200
    assert "Mail could not be sent" in caplog.text


def test_while_developing_the_link_can_be_copied_from_the_console(
    user: User, https: Client, use_mail: Callable[[type], None], capsys: Any
) -> None:
    use_mail(ConsoleBackend)
    ask(https)
    printed = capsys.readouterr().out
    assert "To: ada@example.com\nSubject: A new password" in printed
    link = re.search(r"^https?://[^/]+(/\S+/reset/\S+/)$", printed, re.M)
    assert link and https.get(link[1], follow=True).context["validlink"]


@pytest.mark.parametrize("email", ["ada@example.com", "nobody@example.com"])
def test_requests_are_limited_per_account_and_alike(user: User, https: Client, email: str) -> None:
    for number in range(Attempt.MAIL_PER_NAME):
        assert ask(https, email, f"192.0.2.{number}").status_code == 302
    sent = len(mail.outbox)
    response = ask(https, email.upper(), "192.0.2.99")
    assert response.status_code == 429
    assert 59 * 60 < int(response.headers["Retry-After"]) <= 3600
    assert len(mail.outbox) == sent
    # What was refused does not count: the wait ends with the first request's hour.
    first = Attempt.objects.filter(name=email).earliest("at")
    Attempt.objects.filter(pk=first.pk).update(at=timezone.now() - timedelta(hours=1))
    assert ask(https, email).status_code == 302


def test_requests_are_limited_per_address(user: User, https: Client, settings: Any) -> None:
    for number in range(Attempt.MAIL_PER_ADDRESS):
        assert ask(https, f"{number}@example.com").status_code == 302
    assert ask(https, "ada@example.com").status_code == 429
    assert ask(https, "ada@example.com", "198.51.100.1").status_code == 302
    assert len(mail.outbox) == 1
