"""The user that comes with the session: Django's, for one question to the database."""

from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.conf import settings as django_settings
from django.contrib import auth
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import AnonymousUser, BaseUserManager
from django.http import HttpRequest
from django.test import Client, RequestFactory
from outlast.middleware import AuthenticationMiddleware, SessionMiddleware
from outlast.models import Session
from outlast.sessions import lookup

from accounts.models import User
from tests.test_sessions import Store

pytestmark = pytest.mark.django_db


class OwnBackend(ModelBackend):
    """A backend that finds users in its own way."""

    def get_user(self, user_id: int) -> User | None:
        user = super().get_user(user_id)
        if user:
            user.name = "found by OwnBackend"
        return user

    async def aget_user(self, user_id: int) -> User | None:
        return await sync_to_async(self.get_user)(user_id)


OWN = f"{__name__}.OwnBackend"


def request_with(session_key: str | None) -> HttpRequest:
    """Return a request as the two middlewares leave it."""
    request = RequestFactory().get("/")
    if session_key:
        request.COOKIES[django_settings.SESSION_COOKIE_NAME] = session_key
    SessionMiddleware(lambda request: None).process_request(request)
    AuthenticationMiddleware(lambda request: None).process_request(request)
    return request


async def _await_user(request: HttpRequest) -> Any:
    return await request.auser()


def users_of(session_key: str | None) -> list[Any]:
    """Return the user of a request, asked for in both ways, and whom Django would find."""
    async_user = async_to_sync(_await_user)(request_with(session_key))
    django_user = auth.get_user(request_with(session_key))
    sync_user = request_with(session_key).user
    return [sync_user, async_user, django_user]


@pytest.fixture
def session_key(user: User, https: Client) -> str:
    https.force_login(user)
    return str(https.session.session_key)


def test_it_is_the_very_user_that_django_finds(user: User, session_key: str) -> None:
    from_row, from_row_too, expected = users_of(session_key)
    for found in (from_row, from_row_too):
        assert found == expected == user
        for field in User._meta.concrete_fields:
            ours, django = getattr(found, field.attname), getattr(expected, field.attname)
            assert (type(ours), ours) == (type(django), django)
        assert found._state.db == expected._state.db
        assert not found._state.adding
        assert not found.get_deferred_fields()


@pytest.mark.parametrize("ask", [lambda r: r.user.pk, async_to_sync(_await_user)])
def test_session_and_user_cost_one_query(
    ask: Any, session_key: str, django_assert_num_queries: Any
) -> None:
    request = request_with(session_key)
    with django_assert_num_queries(1):
        ask(request)
        ask(request)


@pytest.mark.parametrize("ask", [lambda r: r.user.pk, async_to_sync(_await_user)])
def test_nobody_costs_no_more_than_one_query(ask: Any, django_assert_num_queries: Any) -> None:
    basket = Store()
    basket["fruit"] = "apple"
    basket.save()
    for key, queries in ((None, 0), ("tooshort?", 0), ("0" * 32, 1), (basket.session_key, 1)):
        request = request_with(key)
        with django_assert_num_queries(queries):
            ask(request)
        assert request.user.is_anonymous


def test_a_request_that_touches_no_session_costs_nothing(
    session_key: str, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(0):
        request_with(session_key)


def test_an_inactive_user_is_nobody(user: User, session_key: str) -> None:
    User.objects.update(is_active=False)
    assert users_of(session_key) == [AnonymousUser()] * 3


def test_a_changed_password_ends_the_session(user: User, session_key: str) -> None:
    user.set_password("another one")
    user.save()
    assert request_with(session_key).user == AnonymousUser()
    assert not Session.objects.filter(session_key=session_key).exists()


def test_a_former_secret_key_is_replaced(user: User, session_key: str, settings: Any) -> None:
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "a new one " * 6
    request = request_with(session_key)
    assert request.user == user
    assert request.session.session_key != session_key
    request.session.save()
    settings.SECRET_KEY_FALLBACKS = []
    assert request_with(request.session.session_key).user == user


def test_a_backend_that_finds_users_in_its_own_way_is_asked(
    user: User, session_key: str, settings: Any
) -> None:
    settings.AUTHENTICATION_BACKENDS = [OWN]
    assert users_of(session_key) == [AnonymousUser()] * 3  # logged in by a backend that is gone
    client = Client()
    client.force_login(user, OWN)
    found = users_of(client.session.session_key)
    assert [user.name for user in found] == ["found by OwnBackend"] * 3


def test_who_is_logged_in_is_said_by_the_session_not_by_the_column(
    user: User, session_key: str
) -> None:
    # With the same password: nothing but the number tells the two apart.
    other = User.objects.create(email="eve@example.com", password=user.password)
    Session.objects.filter(session_key=session_key).update(user=other)
    assert users_of(session_key) == [user] * 3
    Session.objects.filter(session_key=session_key).update(user=None)
    assert users_of(session_key) == [user] * 3


def test_the_column_follows_the_session(user: User, session_key: str) -> None:
    assert list(user.sessions.values_list("session_key", flat=True)) == [session_key]
    session = Store(session_key)
    del session[auth.SESSION_KEY]
    session.save()
    assert list(user.sessions.all()) == []


@pytest.fixture
def fresh_statement(session_key: str) -> Iterator[None]:
    """Let the query be written anew, once there is a session, and again after the test."""
    lookup._statement.cache_clear()
    yield
    lookup._statement.cache_clear()


@pytest.mark.usefixtures("fresh_statement")
def test_a_user_model_with_conditions_of_its_own_is_left_to_django(
    user: User, session_key: str, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    class LivingUsers(BaseUserManager[User]):
        def get_queryset(self) -> Any:
            return super().get_queryset().exclude(name="dead")

    manager = LivingUsers()
    manager.model = User
    monkeypatch.setitem(User._meta.__dict__, "default_manager", manager)
    request = request_with(session_key)
    with django_assert_num_queries(2):
        assert request.user == user
    User.objects.update(name="dead")
    assert request_with(session_key).user == AnonymousUser()


@pytest.mark.usefixtures("fresh_statement")
def test_a_user_model_in_several_tables_is_left_to_django(
    user: User, session_key: str, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    monkeypatch.setattr(User._meta, "parents", {User: None})
    request = request_with(session_key)
    with django_assert_num_queries(2):
        assert request.user == user
