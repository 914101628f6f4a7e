"""Copies of sessions in Redis: lost, old or forged copies are never used.

Every session has a row, and the row is right. These tests let things happen to Redis, and
between the steps of a request, and compare what is read with what was committed.
"""

import itertools
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.base import SessionBase, UpdateError
from django.db import router, transaction
from django.db.models import F
from outlast.models import Session
from outlast.sessions.redis import SessionStore
from session_helpers import ENDED, Copies, Interrupted, new_session, store, value_of

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _engine(use_engine: Callable[[str], None]) -> None:
    use_engine("redis")


# --- What a copy is good for, and what makes it count ---


def test_the_copy_is_used_while_the_row_has_its_version(copies: Copies) -> None:
    key = new_session("apple")
    Session.objects.update(session_data="not read", version=F("version"))
    assert value_of(key) == "apple"
    Session.objects.update(version="another")
    assert value_of(key) != "apple"


def test_a_copy_that_is_confirmed_spares_the_data(
    copies: Copies, django_assert_num_queries: Any
) -> None:
    key = new_session("apple" * 1000)
    with django_assert_num_queries(1):
        assert store(key)["value"] == "apple" * 1000
    copies.lose(key)
    with django_assert_num_queries(2):
        assert store(key)["value"] == "apple" * 1000
    assert copies.of(key)


def test_an_asynchronous_view_needs_no_copy(copies: Copies) -> None:
    key = new_session("apple")
    copies.lose(key)

    async def view() -> Any:
        session = store(key)
        await session.aget(SESSION_KEY)  # as `request.auser()` does
        return session["value"]

    assert async_to_sync(view)() == "apple"


def test_a_stale_copy_is_replaced(copies: Copies, django_assert_num_queries: Any) -> None:
    key = new_session("apple")
    old = copies.of(key)
    session = store(key)
    session["value"] = "pear"
    session.save()
    new = copies.of(key)
    copies.put(key, old)
    with django_assert_num_queries(2):
        assert value_of(key) == "pear"
    assert copies.of(key) == new


def test_a_copy_lives_as_long_as_its_session(copies: Copies) -> None:
    for expiry in (60, 1000):
        session = store()
        session.set_expiry(expiry)
        session.save()
        assert expiry - 5 <= copies.seconds_left(session.session_key) <= expiry
        copies.lose(session.session_key)
        assert 0 <= expiry - store(session.session_key).get_expiry_age() < 5
        assert expiry - 5 <= copies.seconds_left(session.session_key) <= expiry


def test_an_ended_session_leaves_no_copy(copies: Copies) -> None:
    session = store(new_session("apple"))
    old = session.session_key
    session.cycle_key()
    assert (copies.of(old), value_of(session.session_key)) == (None, "apple")
    session.flush()
    other = new_session("pear")
    Session.objects.all().delete()
    assert copies.of(other) is None


def test_copies_are_made_after_the_commit(copies: Copies) -> None:
    key = new_session("apple")
    before = copies.of(key)
    session = store(key)
    with transaction.atomic():
        session["value"] = "pear"
        session.save()
        assert copies.of(key) == before
    assert copies.of(key) != before
    with transaction.atomic():
        session.flush()
        assert copies.of(key)
    assert copies.of(key) is None


# --- Redis out of reach ---


@pytest.mark.parametrize("backend", ["outlast.cache", "django.core.cache.backends.redis"])
def test_all_of_a_session_works_without_redis(backend: str, settings: Any) -> None:
    cache = {"BACKEND": f"{backend}.RedisCache", "LOCATION": "redis://127.0.0.1:1/0"}
    settings.CACHES = {"default": cache}
    key = new_session("apple")
    session = store(key)
    session["value"] = "pear"
    session.save()
    session.cycle_key()
    assert value_of(key) is ENDED
    assert value_of(session.session_key) == "pear"
    session.flush()
    assert Session.objects.count() == 0


# --- Everything at once ---


def save(session_key: str, value: str) -> Any:
    """Save another value in another request, and return what holds afterwards."""
    session = store(session_key)
    if session.get("value") is None:
        return ENDED
    session["value"] = value
    session.save()
    return value


POINTS = ["before get", "after get", "after query", "before set", "after set"]
EVENTS = ("save", "end", "rolled back", "lost", "brought back", "garbled")


@pytest.mark.slow
@pytest.mark.parametrize("at", POINTS)
@pytest.mark.parametrize("copy_at_first", ["fresh", "stale", "none"])
def test_a_reader_never_sees_what_did_not_hold_while_it_read(
    at: str, copy_at_first: str, copies: Copies
) -> None:
    """Combine two events at any point of a read with any state of the copy."""
    for events in itertools.product(EVENTS, repeat=2):
        key = new_session("first")
        oldest = copies.of(key)
        valid = [save(key, "second")]
        if copy_at_first == "stale":
            copies.put(key, oldest)
        elif copy_at_first == "none":
            copies.lose(key)

        def happen(
            key: str = key, oldest: Any = oldest, valid: list[Any] = valid, events: Any = events
        ) -> None:
            for number, event in enumerate(events):
                if event == "save":
                    valid.append(save(key, f"third {number}"))
                elif event == "end":
                    store(key).flush()
                    valid.append(ENDED)
                elif event == "rolled back":
                    with transaction.atomic():
                        save(key, "never")
                        transaction.set_rollback(True)
                elif event == "lost":
                    copies.lose(key)
                elif event == "brought back":
                    copies.put(key, oldest)
                elif event == "garbled":
                    copies.put(key, b'"garbled"')

        interrupted = Interrupted(at, happen)
        read = value_of(key, interrupted)
        assert read in valid, (events, read)
        for copy in (copies.of(key), oldest, None):
            copies.put(key, copy)
            assert value_of(key) == valid[-1], events


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_any_history_of_sessions_and_redis(seed: int, copies: Copies) -> None:
    """Overlapping requests on three sessions, while Redis loses, restores and mixes up copies."""
    chance = random.Random(seed)
    truth: dict[str, Any] = {new_session(number): number for number in range(3)}
    seen: list[bytes | None] = [None]
    requests: list[SessionBase] = []
    did = Counter[str]()
    for step in range(400):
        key = chance.choice([key for key, value in truth.items() if value is not ENDED])
        seen.append(copies.of(key))
        event = chance.choices(["begin", "save", "end", "fault"], [3, 2, 1, 3])[0]
        if event == "begin":
            requests.append(store(key))
            requests[-1].get("value")
        elif event == "save" and requests:
            session = requests.pop(chance.randrange(len(requests)))
            session["value"] = step
            try:
                session.save()
            except UpdateError:
                assert truth[session.session_key] is ENDED
                event = "too late"
            else:
                assert truth[session.session_key] is not ENDED
                truth[session.session_key] = step
        elif event == "end":
            store(key).flush()
            truth[key] = ENDED
            truth[new_session(step)] = step
        elif event == "fault":
            copies.put(key, chance.choice(seen))  # an old one, another's, or none
        did[event] += 1
        for key in chance.sample(list(truth), 2):
            assert value_of(key) == truth[key], step
    assert min(did[event] for event in ("save", "too late", "end", "fault")) > 10, did


def test_the_database_is_asked_where_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not on a replica, which may not know yet that a session has ended."""
    asked: list[str] = []

    def for_read(*args: Any, **hints: Any) -> str:
        asked.append("read")
        return "default"

    monkeypatch.setattr(router, "db_for_read", for_read)
    key = new_session("apple")
    session = store(key)
    session["value"] = "pear"
    session.save()
    assert store(key).exists(key)
    session.flush()
    SessionStore.clear_expired()
    assert asked == []
