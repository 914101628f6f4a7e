"""What tests of your own are written with works as in Django's documentation."""

from typing import Any
from urllib.request import urlopen

import pytest
from django.contrib.auth import authenticate
from django.core import mail
from django.test import Client

from accounts.models import User
from tests.conftest import PASSWORD

pytestmark = pytest.mark.any_profile


def test_the_client_logs_in(user: User, client: Client) -> None:
    assert authenticate(email=user.email, password=PASSWORD) == user
    assert client.login(username=user.email, password=PASSWORD)
    assert client.session["_auth_user_id"] == str(user.pk)
    client.logout()
    client.force_login(user)
    assert client.session["_auth_user_id"] == str(user.pk)


def test_mail_is_in_the_outbox_right_after_the_request(user: User, https: Client) -> None:
    https.post("/accounts/password/reset/", {"email": user.email})
    assert [message.to for message in mail.outbox] == [[user.email]]


def test_a_live_server(live_server: Any, settings: Any) -> None:
    settings.SECURE_SSL_REDIRECT = False
    with urlopen(f"{live_server.url}/accounts/login/") as page:
        assert b"Log in" in page.read()
