"""Moving between any two engines, and working with two at once, as during a rolling deploy."""

import itertools
import random
import threading
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.base import UpdateError
from django.db import connection
from outlast.sessions import files

pytestmark = pytest.mark.django_db(transaction=True)
ENGINES = ["db", "file", "redis"]
PAIRS = list(itertools.permutations(ENGINES, 2))


def session_of(engine: str, key: str | None = None) -> Any:
    return import_module(f"outlast.sessions.{engine}").SessionStore(key)


def browse(engines: list[str], go_on: Callable[[int], bool], seed: int) -> int:
    """Use one session on engines in any order; return how many times it was saved."""
    chance, session = random.Random(seed), session_of(engines[0])
    session.update({SESSION_KEY: str(seed), "n": 0})
    session.save()
    n = 0
    while go_on(n):
        key = session.session_key
        session = session_of(chance.choice(engines), key)
        if chance.random() < 0.5:
            assert session[SESSION_KEY] == str(seed), "logged out"
        assert session.get("n") == n, "data was lost"
        if chance.random() < 0.1:
            session.cycle_key()
            ended = session_of(chance.choice(engines), key)
            assert ended.get("n") is None and ended.session_key is None
        n += 1
        session["n"] = n
        session.save()
    session = session_of(chance.choice(engines), session.session_key)
    session.flush()
    for engine in engines:
        late = session_of(engine, session.session_key)
        late["n"] = 0
        late.save()
        assert SESSION_KEY not in late
        late.flush()
    return n


@pytest.mark.parametrize("engines", [*map(list, PAIRS), ENGINES], ids="-".join)
def test_any_engines_in_any_order(engines: list[str], use_engine: Callable[[str], None]) -> None:
    use_engine("redis")
    assert browse(engines, lambda n: n < 60, seed=7) == 60
    assert not list(files.folder().glob("*")), "a file was left"


@pytest.mark.parametrize("engine", ["db", "redis"])
def test_a_session_whose_file_is_on_another_machine_stays_logged_in(
    engine: str, use_engine: Callable[[str], None]
) -> None:
    use_engine("redis")
    session = session_of("file")
    session.update({SESSION_KEY: "7", "n": 1})
    session.save()
    for path in files.folder().iterdir():
        path.unlink()
    there = session_of(engine, session.session_key)
    assert dict(there.items()) == {SESSION_KEY: "7"}
    there["n"] = 2
    there.save()
    assert session_of("file", session.session_key)["n"] == 2


def workers(engines: list[str], go_on: Callable[[int], bool]) -> list[int]:
    saves: list[int] = []
    errors: list[Exception] = []

    def work(seed: int) -> None:
        try:
            saves.append(browse(engines, go_on, seed))
        except (AssertionError, UpdateError) as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=[seed]) for seed in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    return saves


def test_two_engines_at_once(use_engine: Callable[[str], None]) -> None:
    use_engine("redis")
    assert workers(ENGINES, lambda n: n < 15) == [15, 15, 15]


@pytest.mark.slow
@pytest.mark.parametrize("engines", [p for p in PAIRS if p[0] < p[1]], ids="-".join)
def test_two_engines_for_a_minute(
    engines: tuple[str, str], use_engine: Callable[[str], None]
) -> None:
    use_engine("redis")
    end = time.monotonic() + 60
    assert min(workers(list(engines), lambda n: time.monotonic() < end)) > 50
