"""Sessions on the active profile: who is logged in, and until when."""

from collections.abc import Callable
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings as django_settings
from django.contrib.sessions.backends.base import SessionBase, UpdateError
from django.core.management import call_command
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.utils import timezone
from outlast.models import Session
from outlast.sessions import session_ended

from accounts.models import User
from accounts.views import DashboardView
from tests.conftest import PASSWORD

pytestmark = pytest.mark.django_db
Store = import_module(django_settings.SESSION_ENGINE).SessionStore


def saved(expiry: Any = None, **data: Any) -> SessionBase:
    """Return a session that has been saved."""
    session = Store()
    session.update(data)
    session.set_expiry(expiry)
    session.save()
    return session


def loaded(session_key: str | None) -> dict[str, Any] | None:
    """Return what another request finds under the key; None: there is no such session."""
    session = Store(session_key)
    data = dict(session.items())
    return data if session.session_key else None


def row(session: SessionBase) -> Session:
    return Session.objects.get(session_key=session.session_key)


def age(session: SessionBase, **columns: timedelta) -> None:
    """Put columns of the session's row back in time."""
    moments = {name: timezone.now() - passed for name, passed in columns.items()}
    Session.objects.filter(session_key=session.session_key).update(**moments)


@pytest.fixture
def logged_in(user: User, https: Client) -> Client:
    """A browser that has logged in by the form."""
    answer = https.post("/accounts/login/", {"username": user.email, "password": PASSWORD})
    assert answer.status_code == 302
    return https


def is_logged_in(browser: Client, session_key: str | None = None) -> bool:
    if session_key:
        browser.cookies[django_settings.SESSION_COOKIE_NAME] = session_key
    return browser.get("/dashboard/").status_code == 200


# --- Data ---


def test_what_is_saved_is_found_by_the_next_request() -> None:
    session = saved(fruit="apple", text="ümlaut ☕", number=7, nested={"a": [1, None, True]})
    found = loaded(session.session_key)
    assert found == {
        "fruit": "apple",
        "text": "ümlaut ☕",
        "number": 7,
        "nested": {"a": [1, None, True]},
    }
    session["fruit"] = "pear"
    session.save()
    assert loaded(session.session_key)["fruit"] == "pear"


def test_the_last_of_two_overlapping_requests_wins() -> None:
    key = saved(fruit="apple").session_key
    one, other = Store(key), Store(key)
    one["fruit"], other["fruit"] = "pear", "plum"
    other.save()
    one.save()
    assert loaded(key) == {"fruit": "pear"}


def test_a_save_that_was_rolled_back_never_was() -> None:
    session = saved(fruit="apple")
    with pytest.raises(RuntimeError), transaction.atomic():
        session["fruit"] = "pear"
        session.save()
        raise RuntimeError
    assert loaded(session.session_key) == {"fruit": "apple"}


def test_a_key_that_django_cannot_have_made_is_no_key(
    https: Client, django_assert_num_queries: Any
) -> None:
    for key in (
        "short",
        "x" * 41,
        "ABCDEFGH" * 4,
        "../../../../etc/passwd",
        "a\x00" * 16,
        "ü" * 32,
    ):
        with django_assert_num_queries(0):
            assert loaded(key) is None
        https.cookies[django_settings.SESSION_COOKIE_NAME] = "x" * 41
        answer = https.get("/accounts/login/")
        assert answer.cookies[django_settings.SESSION_COOKIE_NAME]["max-age"] == 0


@pytest.mark.parametrize("length", [8, 40])
def test_keys_may_have_eight_to_forty_characters(
    length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Store, "_get_new_session_key", lambda self: "k" * length)
    saved(a=1)
    assert loaded("k" * length) == {"a": 1}


def test_a_key_that_is_taken_is_not_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    first = saved(a=1)
    keys = iter([first.session_key, "k" * 32])
    monkeypatch.setattr(Store, "_get_new_session_key", lambda self: next(keys))
    second = saved(a=2)
    assert second.session_key == "k" * 32
    assert loaded(first.session_key) == {"a": 1}
    assert loaded(second.session_key) == {"a": 2}


def test_cycling_the_key_keeps_the_data_and_ends_the_old_session() -> None:
    session = saved(fruit="apple")
    old = session.session_key
    session.cycle_key()
    session.save()
    assert loaded(old) is None
    assert loaded(session.session_key) == {"fruit": "apple"}


def test_the_asynchronous_methods_do_the_same() -> None:
    async def scenario() -> None:
        session = Store()
        await session.aset("fruit", "apple")
        await session.asave()
        old = session.session_key
        assert await session.aexists(old)
        assert await Store(old).aget("fruit") == "apple"
        await session.acycle_key()
        await session.aset("fruit", "pear")
        await session.asave()
        assert await Store(old).aget("fruit") is None
        assert await Store(session.session_key).aget("fruit") == "pear"
        overlapping = Store(session.session_key)
        await overlapping.aset("fruit", "plum")
        await session.aflush()
        with pytest.raises(UpdateError):
            await overlapping.asave()
        assert await Store(overlapping.session_key).aget("fruit") is None
        await Store.aclear_expired()

    async_to_sync(scenario)()


# --- Ending ---


def test_logging_in_gives_another_key_and_ends_the_one_before(user: User, https: Client) -> None:
    planted = saved(fruit="apple").session_key
    https.cookies[django_settings.SESSION_COOKIE_NAME] = planted
    https.post("/accounts/login/", {"username": user.email, "password": PASSWORD})
    assert https.session.session_key != planted
    assert is_logged_in(https)
    assert loaded(planted) is None


def test_a_cookie_replayed_after_logout_is_nobody(logged_in: Client) -> None:
    key = logged_in.session.session_key
    assert is_logged_in(logged_in)
    logged_in.post("/accounts/logout/")
    assert not is_logged_in(logged_in, key)
    assert loaded(key) is None


@pytest.mark.parametrize(
    "end",
    [
        lambda session: Store(session.session_key).flush(),
        lambda session: row(session).delete(),
        lambda session: Session.objects.filter(session_key=session.session_key).delete(),
        lambda session: User.objects.all().delete(),
    ],
    ids=["flush", "row", "rows", "user"],
)
def test_an_ended_session_is_not_revived_by_an_overlapping_request(
    end: Callable[[SessionBase], Any],
    user: User,
    django_capture_on_commit_callbacks: Any,
) -> None:
    session = saved(_auth_user_id=str(user.pk), fruit="apple")
    overlapping = Store(session.session_key)
    overlapping["fruit"] = "pear"
    heard: list[dict[str, Any]] = []

    def listen(**kwargs: Any) -> None:
        heard.append(kwargs)

    session_ended.connect(listen)
    with django_capture_on_commit_callbacks(execute=True):
        end(session)
        assert heard == []  # not before the commit
    assert [(h["session_key"], h["user_id"]) for h in heard] == [(session.session_key, user.pk)]
    with pytest.raises(UpdateError):
        overlapping.save()
    assert loaded(session.session_key) is None


def test_a_request_whose_session_was_ended_meanwhile_says_so(
    logged_in: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def get(view: DashboardView, request: HttpRequest) -> HttpResponse:
        request.session["fruit"] = "apple"
        Session.objects.all().delete()
        return HttpResponse()

    monkeypatch.setattr(DashboardView, "get", get)
    assert logged_in.get("/dashboard/").status_code == 400


@pytest.mark.django_db(transaction=True)
def test_a_login_of_a_user_who_was_deleted_meanwhile_does_not_happen(user: User) -> None:
    session = saved(fruit="apple")
    session["_auth_user_id"] = str(user.pk)
    user.delete()
    with pytest.raises(UpdateError):
        session.save()


# --- Time ---


@pytest.mark.parametrize("expiry", [60, timedelta(seconds=60), None, 0])
def test_a_session_expires(expiry: Any) -> None:
    session = saved(expiry, fruit="apple")
    assert loaded(session.session_key)
    age(session, expire_date=timedelta(seconds=1))
    assert loaded(session.session_key) is None


def test_a_session_ends_after_the_idle_time_out(settings: Any) -> None:
    session = saved(fruit="apple")
    age(session, last_seen=timedelta(seconds=601))
    assert loaded(session.session_key)
    settings.SESSION_IDLE_SECONDS = 600
    assert loaded(session.session_key) is None


def test_a_session_ends_after_the_absolute_time_out(settings: Any) -> None:
    session = saved(fruit="apple")
    age(session, created_at=timedelta(seconds=601))
    session.save()
    assert loaded(session.session_key)
    settings.SESSION_ABSOLUTE_SECONDS = 600
    assert loaded(session.session_key) is None


def test_expired_sessions_are_cleared_and_no_others(settings: Any) -> None:
    settings.SESSION_IDLE_SECONDS = 600
    alive, expired, idle = saved(a=1), saved(a=2), saved(a=3)
    age(expired, expire_date=timedelta(seconds=1))
    age(idle, last_seen=timedelta(seconds=601))
    call_command("clearsessions")
    assert list(Session.objects.values_list("pk", flat=True)) == [alive.session_key]
    assert loaded(alive.session_key)
