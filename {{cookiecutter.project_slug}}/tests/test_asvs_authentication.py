"""Chapter 6 of OWASP ASVS 5.0, authentication; docs/security.md names the test of each row."""

import re
from typing import Any

import pytest
from django.core import mail
from django.test import Client

from accounts.models import User
from tests.conftest import PASSWORD

pytestmark = [pytest.mark.django_db, pytest.mark.any_profile]


def change(client: Client, old: str, new: str) -> Any:
    form = {"old_password": old, "new_password1": new, "new_password2": new}
    return client.post("/accounts/password/change/", form)


@pytest.mark.parametrize(
    "password",
    [
        "only lower case letters",  # 6.2.5: no rules of composition
        " Spaces at both ends ",  # 6.2.8: as it was typed
        "ǅ ﬁ İ Ⅻ ǅ ﬁ İ Ⅻ",
        "64 characters and more " * 3,  # 6.2.9
        "x y z " * 500,
    ],
)
def test_passwords_of_any_kind_are_kept_as_typed(user: User, https: Client, password: str) -> None:
    https.force_login(user)
    assert change(https, PASSWORD, password).status_code == 302
    user.refresh_from_db()
    assert user.check_password(password)
    for other in (password.strip() + "?", password.swapcase(), password[:-1]):
        assert not user.check_password(other)
    https.logout()
    form = {"username": user.email, "password": password}
    assert https.post("/accounts/login/", form).status_code == 302


def test_what_is_guessed_first_is_refused(user: User, https: Client) -> None:
    """6.2.1, 6.2.4, 6.2.11: short, common, and made of the account's own words."""
    https.force_login(user)
    for password in ("seven77", "password1", "iloveyou", "12345678", "ada@example.com"):
        assert change(https, PASSWORD, password).status_code == 200, password
    user.refresh_from_db()
    assert user.check_password(PASSWORD)


def test_password_managers_can_fill_the_fields(user: User, https: Client, settings: Any) -> None:
    """6.2.6 and 6.2.7: hidden while typed, with the names that browsers know."""
    settings.SIGN_UP = True
    https.post("/accounts/sign-up/", {"email": "new@example.com"})
    link = re.search(r"https?://[^/]+(/\S+)", str(mail.outbox[0].body))
    assert link
    pages = {"/accounts/login/": 1, link[1]: 2}
    private = {"/accounts/password/change/": 3, "/accounts/confirm/": 1}
    for address, expected in (pages | private).items():
        if address in private:
            https.force_login(user)
        page: Any = https.get(address, follow=True)
        fields = re.findall(r"<input[^>]*password[^>]*>", page.content.decode())
        assert len(fields) == expected, address
        for field in fields:
            assert 'type="password"' in field
            assert re.search(r'autocomplete="(current|new)-password"', field)
            assert "onpaste" not in field


def test_no_account_comes_with_the_site(db: None) -> None:
    """6.3.2."""
    assert not User.objects.exists()
