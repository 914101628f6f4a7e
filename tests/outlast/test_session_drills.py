"""Exact schedules of faults. Each passes, and fails on a build that is sabotaged in that point."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from outlast.models import AbstractSession, Session
from outlast.sessions import db, files, redis
from session_helpers import (
    ENDED,
    Copies,
    Interrupted,
    is_logged_in,
    row,
    saved,
    store,
    value_of,
)

from tests.servers import Topology

pytestmark = pytest.mark.django_db(transaction=True)


def set_value(key: str, value: str) -> None:
    session = store(key)
    session["value"] = value
    session.save()


# --- The drills ---


def old_snapshot(copies: Copies, user: User) -> None:
    """Redis restarts with a snapshot from before the last save."""
    key = str(saved(value="old").session_key)
    snapshot = copies.of(key)
    set_value(key, "new")
    copies.put(key, snapshot)
    assert value_of(key) == "new"


def lost_deletion(copies: Copies, user: User) -> None:
    """The deletion of a copy is lost in a failover; the cookie is replayed."""
    session = saved(value="old")
    key = str(session.session_key)
    copy = copies.of(key)
    session.flush()
    copies.put(key, copy)
    assert value_of(key) is ENDED


def demoted_server(copies: Copies, user: User) -> None:
    """A save writes to a server that is a replica since, and discards it."""
    key = str(saved(value="old").session_key)
    before = copies.of(key)
    set_value(key, "new")
    copies.put(key, before)  # what the new primary has
    assert value_of(key) == "new"
    assert value_of(key) == "new"


def slow_reader(copies: Copies, user: User) -> None:
    """A reader pauses between the row and its copy; another request saves meanwhile."""
    key = str(saved(value="old").session_key)
    copies.lose(key)
    interrupted = Interrupted("before set", lambda: set_value(key, "new"))
    assert value_of(key, interrupted) == "old"
    assert value_of(key) == "new"


def killed_ender(copies: Copies, user: User) -> None:
    """The process that ends a session is killed between its commit and Redis."""
    key = str(saved(value="old").session_key)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_session")
    assert copies.of(key)
    assert value_of(key) is ENDED


def swapped_copies(copies: Copies, user: User) -> None:
    """Someone who can write to Redis puts the copy of one session in the place of another's."""
    mine, theirs = str(saved(value="mine").session_key), str(saved(value="theirs").session_key)
    copies.put(mine, copies.of(theirs))
    assert value_of(mine) == "mine"


def saved_by_djangos_engine(copies: Copies, user: User) -> None:
    """Code that uses only Django's model changes a session that has a copy."""
    from django.contrib.sessions.models import Session as DjangoSession

    key = str(saved(value="old").session_key)
    found = DjangoSession.objects.get(pk=key)
    found.session_data = store().encode({"value": "new"})
    found.save()
    assert value_of(key) == "new"


def user_replaced_in_the_columns(copies: Copies, user: User) -> None:
    """The columns name another user than the owner of the session's hash."""
    browser = Client()
    browser.force_login(user)
    other = User.objects.create_user("grace", password="x")  # noqa: S106
    Session.objects.update(user=other)
    assert not is_logged_in(browser) and browser.get("/").content == b"user=anonymous"


# --- The sabotages ---


def signs_without_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_signature", lambda session, data, secret: files.name_of(data))


def trusts_copies_without_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    look_up = db.SessionStore.look_up

    def trusting(self: Any, with_data: bool | None = None) -> Any:
        key = self.session_key
        found = look_up(self, with_data)
        signed = key and redis.copies().get(redis.name_of(key))
        if found is None and signed:
            self._session_key, self._session_cache = key, self.decode(signed.split(" ")[1])
        return found

    monkeypatch.setattr(db.SessionStore, "look_up", trusting)


def never_changes_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    set_identity = AbstractSession.set_identity

    def constant(self: Any, data: Any) -> None:
        set_identity(self, data)
        self.version = "constant"

    monkeypatch.setattr(AbstractSession, "set_identity", constant)


def overlooks_djangos_model(monkeypatch: pytest.MonkeyPatch) -> None:
    update = type(Session.objects.all()).update

    def keep(self: Any, **values: Any) -> int:
        return 0 if values == {"version": None} else update(self, **values)

    monkeypatch.setattr(type(Session.objects.all()), "update", keep)


def trusts_the_user_column(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outlast.middleware.constant_time_compare", lambda one, other: True)


DRILLS: list[tuple[Callable[..., None], Callable[..., None]]] = [
    (old_snapshot, signs_without_version),
    (old_snapshot, never_changes_the_version),
    (lost_deletion, trusts_copies_without_a_row),
    (demoted_server, signs_without_version),
    (slow_reader, signs_without_version),
    (killed_ender, trusts_copies_without_a_row),
    (swapped_copies, signs_without_version),
    (saved_by_djangos_engine, overlooks_djangos_model),
    (user_replaced_in_the_columns, trusts_the_user_column),
]


@pytest.mark.parametrize(("drill", "sabotage"), DRILLS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("sabotaged", [False, True])
def test_drill(
    drill: Callable[..., None],
    sabotage: Callable[..., None],
    sabotaged: bool,
    use_engine: Callable[[str], None],
    redis_server: Topology,
    user: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use_engine("redis")
    if not sabotaged:
        drill(Copies(redis_server), user)
        return
    sabotage(monkeypatch)
    with pytest.raises(AssertionError):
        drill(Copies(redis_server), user)


def test_an_old_file_is_not_read(use_engine: Callable[[str], None]) -> None:
    """The folder is restored from a backup: the row names another file."""
    use_engine("file")
    session = saved(value="old", _auth_user_id="7")
    old = {path: path.read_bytes() for path in files.folder().iterdir()}
    set_value(str(session.session_key), "new")
    for path in files.folder().iterdir():
        path.unlink()
    for path, content in old.items():
        path.write_bytes(content)
    again = store(session.session_key)
    assert dict(again.items()) == {"_auth_user_id": "7"}
    assert row(session).session_key == again.session_key
