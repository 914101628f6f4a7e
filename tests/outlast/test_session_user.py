"""`request.user` in one query: always the user that Django's own `get_user()` returns."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings as django_settings
from django.contrib import auth
from django.contrib.auth.models import AnonymousUser, User, UserManager
from django.contrib.sessions.backends import db as django_db
from django.contrib.sessions.models import Session as DjangoSession
from django.db import connection
from django.http import HttpRequest
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from outlast.middleware import AuthenticationMiddleware, SessionMiddleware, peek_user
from outlast.models import Session
from outlast.sessions import lookup
from session_helpers import saved, store
from user_cases import CASES, KEY, MODEL, Person, expired, log_in, secret_key_rotated

from tests.servers import Topology

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("engine")]


def request_with(session_key: str | None) -> HttpRequest:
    """Return a request as the two middlewares leave it."""
    request = RequestFactory().get("/")
    if session_key:
        request.COOKIES[django_settings.SESSION_COOKIE_NAME] = session_key
    SessionMiddleware(lambda request: None).process_request(request)  # type: ignore[arg-type, return-value]
    AuthenticationMiddleware(lambda request: None).process_request(request)  # type: ignore[arg-type, return-value]
    return request


def django_request(session_key: str | None) -> HttpRequest:
    """Return a request whose session is of Django's own engine."""
    request = HttpRequest()
    request.session = django_db.SessionStore(session_key)
    return request


async def _await_user(request: HttpRequest) -> Any:
    return await request.auser()


def answer(request: HttpRequest, user: Any) -> dict[str, Any]:
    """Return all that a page can see: the user, and what was done to the session."""
    fields = {f.attname: getattr(user, f.attname) for f in Person._meta.concrete_fields if user.pk}
    session = request.session
    return {
        "type": type(user),
        "fields": fields,
        "adding": getattr(user, "_state", None) and user._state.adding,
        "ended": session.session_key is None,
        "modified": session.modified,
        "hash": session.get(auth.HASH_SESSION_KEY),
        "empty": session.is_empty(),
    }


def in_rows() -> None:
    """Write the data into the row, where Django's own engine reads it."""
    for session in Session.objects.all():
        data = dict(store(session.session_key).items())
        encoded = store().encode(data)
        DjangoSession.objects.filter(pk=session.pk).update(session_data=encoded)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("ask", ["user", "auser", "peek"])
def test_the_same_answer_as_django(
    user: User, settings: Any, case: Callable[[User, Any], None], ask: str, engine: str
) -> None:
    log_in(user)
    case(user, settings)
    key = KEY["at first"] = KEY["of the session"]
    ours = request_with(key)
    if ask == "peek":
        before = Session.objects.values_list("session_key", "version").first()
        found = peek_user(store(key))
        assert Session.objects.values_list("session_key", "version").first() == before
    else:
        found = ours.user if ask == "user" else async_to_sync(_await_user)(ours)
        assert isinstance(found.is_authenticated, bool)  # resolves the lazy object
        found = getattr(found, "_wrapped", found)
        told = answer(ours, found)
    ours_now = [*Session.objects.values_list("session_key", flat=True)]
    # Django's turn, on the same row.
    if ask != "peek" and (told["modified"] or told["ended"]):
        assert key not in ours_now or case is expired
        log_in_again(user, case, settings)
        key = KEY["of the session"]
    in_rows()
    request = django_request(key)
    expected = auth.get_user(request)
    assert found == expected and type(found) is type(expected)
    if ask != "peek":
        wanted = answer(request, expected)
        if case is secret_key_rotated:
            wanted["modified"] = False  # `SessionStore.touch()` writes the hash
        if key != KEY["at first"]:  # one more login
            for fields in (told["fields"], wanted["fields"]):
                fields.pop("last_login", None)
        assert told == wanted


def log_in_again(user: User, case: Callable[[User, Any], None], settings: Any) -> None:
    """Make the case once more, as the first answer has ended or replaced the session."""
    fresh = Person.objects.filter(pk=user.pk).first()
    if settings.SECRET_KEY_FALLBACKS:
        settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = settings.SECRET_KEY_FALLBACKS[0], []
    if fresh:
        log_in(fresh)
        case(fresh, settings)


# --- Custom user models ---


@pytest.fixture
def fresh_statement() -> Iterator[None]:
    """Let the query be written again after the test."""
    yield
    lookup._statement.cache_clear()


@pytest.mark.usefixtures("fresh_statement")
def test_a_manager_with_conditions_is_left_to_django(
    user: User, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    class LivingUsers(UserManager[User]):
        def get_queryset(self) -> Any:
            return super().get_queryset().exclude(first_name="dead")

    manager = LivingUsers()
    manager.model = Person
    log_in(user)
    monkeypatch.setitem(Person._meta.__dict__, "default_manager", manager)
    lookup._statement.cache_clear()
    request = request_with(KEY["of the session"])
    with django_assert_num_queries(2):
        assert request.user == user
    Person.objects.update(first_name="dead")
    assert request_with(KEY["of the session"]).user == AnonymousUser()


@pytest.mark.parametrize("name", ["another", "users"])
@pytest.mark.usefixtures("fresh_statement")
def test_users_of_another_database_are_left_to_django(
    name: str,
    user: User,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    django_assert_num_queries: Any,
) -> None:
    log_in(user)
    monkeypatch.setattr(lookup, "router", SimpleNamespace(db_for_write=lambda model: name))
    lookup._statement.cache_clear()
    request = request_with(KEY["of the session"])
    with django_assert_num_queries(2):
        assert request.user == user
    secret_key_rotated(user, settings)
    request = request_with(KEY["of the session"])
    assert request.user == user
    assert request.session.modified and request.session.session_key == KEY["of the session"]


# --- Costs ---


@pytest.mark.parametrize("ask", [lambda r: r.user.pk, async_to_sync(_await_user)])
def test_session_and_user_cost_one_query(ask: Any, user: User) -> None:
    log_in(user)
    request = request_with(KEY["of the session"])
    with CaptureQueriesContext(connection) as queries:
        ask(request)
        ask(request)
        assert auth.SESSION_KEY in request.session
        assert request.session[auth.BACKEND_SESSION_KEY] == MODEL
    assert len(queries) == 1
    assert request.session.accessed and not request.session.modified


def test_session_and_user_cost_no_redis_command(
    user: User, use_engine: Callable[[str], None], redis_server: Topology
) -> None:
    use_engine("redis")
    log_in(user)
    with redis_server.primary.client() as client:

        def asked() -> int:
            return int(client.info("stats")["total_commands_processed"])

        before = asked()
        assert request_with(KEY["of the session"]).user == user
        assert asked() == before + 1, "as well as its own question"
        assert request_with(KEY["of the session"]).session.get("fruit") is None
        assert asked() > before + 2, "commands are not counted"


@pytest.mark.parametrize("ask", [lambda r: r.user.pk, async_to_sync(_await_user)])
def test_anonymous_costs_at_most_one_query(ask: Any, django_assert_num_queries: Any) -> None:
    basket = saved(fruit="apple")
    for key, queries in ((None, 0), ("tooshort?", 0), ("0" * 32, 1), (basket.session_key, 1)):
        request = request_with(key)
        with django_assert_num_queries(queries):
            ask(request)
        assert request.user.is_anonymous


def test_nothing_is_decoded_or_read_for_the_user(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_in(user)

    def refuse(*args: Any) -> Any:
        raise AssertionError("the session's data was read")

    for method in ("decode", "fetch"):
        monkeypatch.setattr(type(store()), method, refuse)
    request = request_with(KEY["of the session"])
    assert request.user == user
    with pytest.raises(AssertionError):
        request.session.get("fruit")


def test_the_answer_varies_by_cookie(user: User, client: Client) -> None:
    client.force_login(user)
    assert client.get("/").headers["Vary"] == "Cookie"


def test_a_request_that_touches_no_session_costs_nothing(
    user: User, django_assert_num_queries: Any
) -> None:
    log_in(user)
    with django_assert_num_queries(0):
        request_with(KEY["of the session"])


def test_the_column_follows_the_session(user: User) -> None:
    log_in(user)
    assert [s.session_key for s in Session.objects.filter(user=user)] == [KEY["of the session"]]
    session = store(KEY["of the session"])
    del session[auth.SESSION_KEY]
    session.save()
    assert not Session.objects.filter(user=user).exists()
