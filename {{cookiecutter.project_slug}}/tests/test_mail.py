"""`EMAIL_URL` in the words of either Django."""

from typing import Any

import django
import pytest
from environ import Env

from config import mail


def load(url: str) -> dict[str, Any]:
    """Return what the default mail server of the site is, by the names of Django 5.2."""
    settings = mail.load(Env.email_url_config(url))
    if django.VERSION < (6, 1):
        return settings
    mailer = settings["MAILERS"]["default"]
    options = mail.OPTIONS.get(mailer["BACKEND"], {})
    named = {name: mailer["OPTIONS"].pop(option, None) for name, option in options.items()}
    assert not mailer["OPTIONS"]
    return {"EMAIL_BACKEND": mailer["BACKEND"], **named}


def test_a_server_with_a_password() -> None:
    found = load("smtp+tls://ada%40example.com:p%2Fw@smtp.example.com:587")
    assert found["EMAIL_BACKEND"] == "django.core.mail.backends.smtp.EmailBackend"
    assert found["EMAIL_HOST"] == "smtp.example.com"
    assert found["EMAIL_PORT"] == 587
    assert found["EMAIL_HOST_USER"] == "ada@example.com"
    assert found["EMAIL_HOST_PASSWORD"] == "p/w"
    assert found["EMAIL_USE_TLS"] is True
    assert found["EMAIL_TIMEOUT"] == mail.TIMEOUT


def test_tls_from_the_first_byte() -> None:
    found = load("smtp+ssl://smtp.example.com:465")
    assert found["EMAIL_USE_SSL"] is True and not found.get("EMAIL_USE_TLS")


def test_a_folder() -> None:
    assert load("filemail:////tmp/mail")["EMAIL_FILE_PATH"] == "/tmp/mail"  # noqa: S108


def test_the_console_prints_what_can_be_read() -> None:
    assert load("consolemail://")["EMAIL_BACKEND"] == "accounts.mail.ConsoleBackend"


@pytest.mark.parametrize("url", ["smtp://localhost:25", "consolemail://", "filemail:////tmp/x"])
def test_django_takes_it(url: str, settings: Any) -> None:
    """Backends refuse options that they do not know."""
    for name, value in mail.load(Env.email_url_config(url)).items():
        setattr(settings, name, value)
    if django.VERSION < (6, 1):
        from django.core.mail import get_connection

        assert get_connection()
    else:
        from django.core.mail import mailers

        assert mailers.default
