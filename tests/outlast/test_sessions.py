"""Sessions on each engine: who is logged in, and until when."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.contrib.sessions.backends.base import UpdateError
from django.core.management import call_command
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path
from outlast.models import Session
from outlast.sessions import session_ended
from outlast.sessions.db import SessionStore
from session_helpers import PASSWORD, age, is_logged_in, loaded, row, saved, store

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("engine")]


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
    one, other = store(key), store(key)
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
    client: Client, django_assert_num_queries: Any
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
        client.cookies[django_settings.SESSION_COOKIE_NAME] = "x" * 41
        answer = client.get("/login/")
        assert answer.cookies[django_settings.SESSION_COOKIE_NAME]["max-age"] == 0


@pytest.mark.parametrize("length", [8, 40])
def test_keys_may_have_eight_to_forty_characters(
    length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {saved().session_key for _ in range(20)}
    assert len(keys) == 20 and {len(key) for key in keys} == {32}
    monkeypatch.setattr(SessionStore, "_get_new_session_key", lambda self: "k" * length)
    saved(a=1)
    assert loaded("k" * length) == {"a": 1}


def test_a_key_that_is_taken_is_not_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    first = saved(a=1)
    keys = iter([first.session_key, "k" * 32])
    monkeypatch.setattr(SessionStore, "_get_new_session_key", lambda self: next(keys))
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
        session = store()
        await session.aset("fruit", "apple")
        await session.asave()
        old = session.session_key
        assert await session.aexists(old)
        assert await store(old).aget("fruit") == "apple"
        await session.acycle_key()
        await session.aset("fruit", "pear")
        await session.asave()
        assert await store(old).aget("fruit") is None
        assert await store(session.session_key).aget("fruit") == "pear"
        overlapping = store(session.session_key)
        await overlapping.aset("fruit", "plum")
        await session.aflush()
        with pytest.raises(UpdateError):
            await overlapping.asave()
        assert await store(overlapping.session_key).aget("fruit") is None
        await SessionStore.aclear_expired()

    async_to_sync(scenario)()


# --- Ending ---


def test_logging_in_gives_another_key_and_ends_the_one_before(user: User, client: Client) -> None:
    planted = saved(fruit="apple").session_key
    client.cookies[django_settings.SESSION_COOKIE_NAME] = planted
    client.post("/login/", {"username": "ada", "password": PASSWORD})
    assert client.session.session_key != planted
    assert is_logged_in(client)
    assert loaded(planted) is None


def test_a_cookie_replayed_after_logout_is_anonymous(logged_in: Client) -> None:
    key = logged_in.session.session_key
    assert is_logged_in(logged_in)
    logged_in.post("/logout/")
    assert not is_logged_in(logged_in, key)
    assert loaded(key) is None


@pytest.mark.parametrize(
    "end",
    [
        lambda session: store(session.session_key).flush(),
        lambda session: row(session).delete(),
        lambda session: Session.objects.filter(session_key=session.session_key).delete(),
        lambda session: User.objects.all().delete(),
    ],
    ids=["flush", "row", "rows", "user"],
)
def test_an_ended_session_is_not_revived_by_an_overlapping_request(
    end: Callable[[SessionStore], Any],
    user: User,
    django_capture_on_commit_callbacks: Any,
) -> None:
    session = saved(_auth_user_id=str(user.pk), fruit="apple")
    overlapping = store(session.session_key)
    overlapping["fruit"] = "pear"
    received: list[dict[str, Any]] = []

    def listen(**kwargs: Any) -> None:
        received.append(kwargs)

    session_ended.connect(listen)
    with django_capture_on_commit_callbacks(execute=True):
        end(session)
        assert received == []  # not before the commit
    (sent,) = received
    assert (sent["session_key"], sent["user_id"]) == (session.session_key, user.pk)
    with pytest.raises(UpdateError):
        overlapping.save()
    assert loaded(session.session_key) is None


def ended_meanwhile(request: HttpRequest) -> HttpResponse:
    """A view whose session is ended by another request."""
    request.session["fruit"] = "apple"
    Session.objects.all()._raw_delete("default")
    return HttpResponse()


urlpatterns = [path("ended/", ended_meanwhile)]


def test_a_request_whose_session_was_ended_meanwhile_says_so(
    logged_in: Client, settings: Any
) -> None:
    settings.ROOT_URLCONF = __name__
    assert logged_in.get("/ended/").status_code == 400


def test_a_login_of_a_user_who_was_deleted_meanwhile_is_no_login(user: User) -> None:
    session = saved(fruit="apple")
    session["_auth_user_id"] = str(user.pk)
    user.delete()
    session.save()
    assert loaded(session.session_key)
    assert not is_logged_in(Client(), session.session_key)


# --- Time ---


@pytest.mark.parametrize("expiry", [60, timedelta(seconds=60), None, 0])
def test_a_session_expires(expiry: Any) -> None:
    session = saved(expiry, fruit="apple")
    assert loaded(session.session_key)
    age(session, expire_date=timedelta(seconds=1))
    assert loaded(session.session_key) is None


def test_a_session_ends_after_the_idle_timeout(settings: Any) -> None:
    session = saved(fruit="apple")
    age(session, last_seen=timedelta(seconds=601))
    assert loaded(session.session_key)
    settings.OUTLAST = {"SESSION_IDLE_SECONDS": 600}
    assert loaded(session.session_key) is None


def test_a_session_ends_after_the_absolute_timeout(settings: Any) -> None:
    session = saved(fruit="apple")
    age(session, created=timedelta(seconds=601))
    session.save()
    assert loaded(session.session_key)
    settings.OUTLAST = {"SESSION_ABSOLUTE_SECONDS": 600}
    assert loaded(session.session_key) is None


def test_expired_sessions_are_cleared_and_no_others(settings: Any) -> None:
    settings.OUTLAST = {"SESSION_IDLE_SECONDS": 600}
    alive, expired, idle = saved(a=1), saved(a=2), saved(a=3)
    age(expired, expire_date=timedelta(seconds=1))
    age(idle, last_seen=timedelta(seconds=601))
    call_command("clearsessions")
    assert list(Session.objects.values_list("pk", flat=True)) == [alive.session_key]
    assert loaded(alive.session_key)
