"""Copies that are trusted for some seconds: what that spares, and what it costs at most."""

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import transaction
from outlast.sessions import trusting

from config import profiles
from config.settings import VAR, env

from .session_faults import ENDED, Copies, Interrupted, new_session, value_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
SECONDS = 30
POINTS = ["before get", "after get", "after query", "before add", "after add"]


class Clock:
    """The time of the engine, which a test lets pass; in Redis as well."""

    def __init__(self, copies: Copies) -> None:
        self.now, self.copies = 1_000_000.0, copies

    def pass_by(self, seconds: float) -> None:
        self.now += seconds
        for name in self.copies.client.scan_iter(self.copies.name("*")):
            self.copies.client.expire(name, max(0, self.copies.client.ttl(name) - int(seconds)))


@pytest.fixture
def copies(settings: Any) -> Copies:
    settings.SESSION_ENGINE = trusting.__name__
    settings.SESSION_REVALIDATE_SECONDS = SECONDS
    return Copies()


@pytest.fixture
def clock(copies: Copies, monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(copies)
    monkeypatch.setattr(trusting, "time", SimpleNamespace(time=lambda: clock.now))
    return clock


def test_the_database_is_asked_once_in_a_while(
    clock: Clock, django_assert_num_queries: Any
) -> None:
    key = new_session(trusting, "apple")
    clock.pass_by(SECONDS)
    for queries in (1, 0, 0):
        with django_assert_num_queries(queries):
            assert value_of(trusting, key) == "apple"
        clock.pass_by(10)
    for queries in (1, 0):
        with django_assert_num_queries(queries):
            assert value_of(trusting, key) == "apple"


@pytest.mark.parametrize("at", POINTS)
def test_without_a_fault_nothing_ended_lives_and_nothing_goes_back(
    at: str, clock: Clock, copies: Copies
) -> None:
    """Any three events at any point of a read, however slow the reader is."""
    for events in itertools.product(("save", "end", "rolled back", "time"), repeat=3):
        copies.cache.clear()
        key = new_session(trusting, "first")
        clock.pass_by(SECONDS)
        held: list[Any] = ["first"]

        def save(value: str, key: str = key) -> Any:
            session = trusting.SessionStore(key)
            if session.get("value") is None:
                return ENDED
            session["value"] = value
            session.save()
            return value

        def happen(key: str = key, held: list[Any] = held, events: Any = events) -> None:
            for number, event in enumerate(events):
                if event == "save":
                    held.append(save(f"another {number}"))
                elif event == "end":
                    trusting.SessionStore(key).flush()
                    held.append(ENDED)
                elif event == "rolled back":
                    with transaction.atomic():
                        save("never")
                        transaction.set_rollback(True)
                elif event == "time":
                    clock.pass_by(SECONDS)

        interrupted = Interrupted(at, happen)
        read = value_of(trusting, key, interrupted)
        assert interrupted.at == "", "nothing happened"
        assert read in held, (events, read)
        for seconds in (0, 1, SECONDS):
            clock.pass_by(seconds)
            assert value_of(trusting, key) == held[-1], (events, seconds)


def test_after_a_fault_it_is_over_in_as_many_seconds(clock: Clock, copies: Copies) -> None:
    key = new_session(trusting, "apple")
    clock.pass_by(SECONDS)
    assert value_of(trusting, key) == "apple"
    old = copies.of(key)
    trusting.SessionStore(key).flush()
    clock.pass_by(SECONDS - 1)
    copies.put(key, old)  # for instance by a failover to a replica that lagged behind
    assert value_of(trusting, key) == "apple"
    clock.now += 1
    assert value_of(trusting, key) is ENDED


def test_copies_cannot_be_made_up_or_swapped(clock: Clock, copies: Copies) -> None:
    mine, theirs = new_session(trusting, "mine"), new_session(trusting, "theirs")
    clock.pass_by(SECONDS)
    assert (value_of(trusting, mine), value_of(trusting, theirs)) == ("mine", "theirs")
    mine_copy, their_copy = copies.of(mine), copies.of(theirs)
    assert mine_copy and their_copy
    younger = their_copy.replace(b'"1000030.000', b'"1000090.000')
    assert younger != their_copy
    for planted in (their_copy, younger, b'"changed"', b"17", b'"1000030.000 x:y"', b""):
        copies.put(mine, planted)
        assert value_of(trusting, mine) == "mine"


@pytest.mark.parametrize("profile", ["redis", "redis-sentinel"])
def test_the_variable_chooses_the_engine(profile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_SENTINELS", "127.0.0.1:26379")
    for seconds, engine in (("0", "redis"), ("30", "trusting")):
        monkeypatch.setenv("SESSION_REVALIDATE_SECONDS", seconds)
        chosen = profiles.load(profile, env, VAR, django_settings.SLUG)
        assert chosen.session_engine == f"outlast.sessions.{engine}"
