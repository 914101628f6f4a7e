"""`manage.py clearsessions`: many rows, and other requests meanwhile."""

import threading
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from outlast.models import Session
from session_helpers import loaded, saved, store

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("engine")]


@pytest.mark.django_db(transaction=True)
def test_clearing_during_saves_logins_and_logouts(user: User, settings: Any) -> None:
    """Threads save, open and end sessions while expired ones are cleared; no call fails."""
    over, errors, did = threading.Event(), [], dict.fromkeys(["saved", "ended", "expired"], 0)
    kept = saved(n=0)

    def busy() -> None:
        try:
            while not over.is_set():
                session = store(kept.session_key)
                session["n"] = session.get("n", 0) + 1
                session.save()
                did["saved"] += 1
                saved(-10, n=1)
                did["expired"] += 1
                saved(n=2).flush()
                did["ended"] += 1
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=busy)
    thread.start()
    try:
        cleared = 0
        while cleared < CLEARINGS or (min(did.values()) < 10 and thread.is_alive()):
            type(kept).clear_expired()
            cleared += 1
    finally:
        over.set()
        thread.join()
    assert not errors
    type(kept).clear_expired()
    assert [s.session_key for s in Session.objects.all()] == [kept.session_key]
    assert loaded(kept.session_key)["n"] == did["saved"]


CLEARINGS = 30


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_clearing_a_thousand_times(
    user: User, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "CLEARINGS", 1000)
    test_clearing_during_saves_logins_and_logouts(user, settings)


def test_clearing_works_in_batches(
    monkeypatch: pytest.MonkeyPatch, django_assert_max_num_queries: Any
) -> None:
    monkeypatch.setattr("outlast.sessions.db.BATCH", 3)
    kept = saved(fruit="apple")
    for _ in range(10):
        saved(-10)
    sizes = []

    def note(execute: Any, sql: str, params: Any, *args: Any) -> Any:
        if sql.startswith("DELETE"):
            sizes.append(len(params))
        return execute(sql, params, *args)

    with connection.execute_wrapper(note):
        type(kept).clear_expired()
    assert sizes == [3, 3, 3, 1]
    assert loaded(kept.session_key) == {"fruit": "apple"}
