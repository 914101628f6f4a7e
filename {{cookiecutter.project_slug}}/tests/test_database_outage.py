"""The relational database stopped or locked: 503, come back soon, and still logged in."""

from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import InterfaceError, OperationalError, ProgrammingError, connection
from django.test import Client

from accounts.models import User
from tests.conftest import PASSWORD, is_logged_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def browser(user: User, https: Client) -> Client:
    https.raise_request_exception = False
    https.force_login(user)
    return https


def failing(error: Exception, statement: str = "") -> Any:
    """Return a context in which the statements that begin so fail."""

    def execute(execute: Any, sql: str, *args: Any) -> Any:
        if sql.startswith(statement):
            raise error
        return execute(sql, *args)

    return connection.execute_wrapper(execute)


@pytest.mark.parametrize(
    "error", [OperationalError("database is locked"), InterfaceError("connection already closed")]
)
@pytest.mark.parametrize(
    "ask",
    [
        lambda browser: browser.get("/dashboard/"),
        lambda browser: browser.post("/accounts/logout/"),
    ],
    ids=["read", "logout"],
)
def test_the_answer_is_503_and_the_cookie_is_kept(
    ask: Callable[[Client], Any], error: Exception, browser: Client
) -> None:
    with failing(error):
        answer = ask(browser)
    assert answer.status_code == 503
    assert 1 <= int(answer["Retry-After"]) <= 60
    assert not answer.cookies
    assert b"<h1>" in answer.content
    assert is_logged_in(browser)


@pytest.mark.parametrize("statement", ["INSERT", "UPDATE"])
def test_a_login_that_cannot_be_saved_is_503(statement: str, browser: Client, user: User) -> None:
    browser.logout()
    with failing(OperationalError("database is locked"), statement):
        answer = browser.post("/accounts/login/", {"username": user.email, "password": PASSWORD})
    assert answer.status_code == 503
    assert django_settings.SESSION_COOKIE_NAME not in answer.cookies
    assert not is_logged_in(browser)


@pytest.mark.parametrize("error", [ProgrammingError("syntax error"), ZeroDivisionError()])
def test_other_errors_remain_500(error: Exception, browser: Client) -> None:
    with failing(error):
        assert browser.get("/dashboard/").status_code == 500


def test_a_missing_table_is_no_outage(browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(*args: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT * FROM no_such_table")

    monkeypatch.setattr("accounts.views.DashboardView.get", ask)
    assert browser.get("/dashboard/").status_code == 500
