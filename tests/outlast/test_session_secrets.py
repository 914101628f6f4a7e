"""An attacker who can read or write everything but the database gains nothing."""

import os
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import caches
from django.test import Client
from outlast.models import Session
from outlast.sessions import files
from session_helpers import PASSWORD, is_logged_in, loaded, saved, store

from tests.servers import Topology

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def monitored(topology: Topology) -> Iterator[list[bytes]]:
    """Collect what MONITOR shows."""
    lines: list[bytes] = []
    with topology.primary.client() as client, client.monitor() as monitor:
        stop = threading.Event()

        def listen() -> None:
            while not stop.is_set():
                if monitor.connection.can_read(0.05):
                    lines.append(repr(monitor.next_command()).encode())

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield lines
            time.sleep(0.3)
        finally:
            stop.set()
            thread.join()


def everything(topology: Topology) -> list[bytes]:
    """Return all names and values of a Redis, as they are stored, and its dump on disk."""
    with topology.primary.client(decode_responses=False) as client:
        client.config_set("rdbcompression", "no")
        client.save()
        folder, name = (client.config_get(option) for option in ("dir", "dbfilename"))
        dump = Path(*map(os.fsdecode, (*folder.values(), *name.values()))).read_bytes()
        names = list(client.scan_iter())
        assert all(name in dump for name in names)
        return [dump, *names, *(client.get(name) or client.dump(name) for name in names)]


def visit(user: User) -> tuple[set[str], Client]:
    """Log in and out in some browsers; return all session keys there were, and one browser."""
    keys = set()
    for _ in range(3):
        browser = Client()
        browser.post("/login/", {"username": "ada", "password": PASSWORD})
        keys.add(str(browser.session.session_key))
        browser.get("/count/")
        browser.get("/count/")
        session = browser.session
        session.cycle_key()
        keys.add(str(session.session_key))
        browser.cookies["sessionid"] = str(session.session_key)
        assert is_logged_in(browser)
    Client().get("/count/")
    return keys, browser


def test_reading_redis_logs_no_one_in(
    user: User, use_engine: Callable[[str], None], redis_server: Topology
) -> None:
    use_engine("redis")
    with monitored(redis_server) as lines:
        keys, browser = visit(user)
    found = [*everything(redis_server), *lines]
    assert any(files.name_of(key).encode() in text for key in keys for text in found)
    assert b"SET" in b"".join(lines)
    assert_no_key(keys, found, browser)


def test_reading_the_folder_logs_no_one_in(user: User, use_engine: Callable[[str], None]) -> None:
    use_engine("file")
    keys, browser = visit(user)
    found = [text for path in files.folder().iterdir() for text in
             (path.name.encode(), path.read_bytes())]  # fmt: skip
    assert len(found) >= 6
    assert_no_key(keys, found, browser)


def assert_no_key(keys: set[str], found: list[bytes], browser: Client) -> None:
    assert len(keys) == 6
    assert is_logged_in(browser)
    keys |= set(Session.objects.values_list("session_key", flat=True))
    assert not [text for text in found for key in keys if key.encode() in text]


class Bomb:
    """Runs code where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (self.path.touch, ())


def planted(values: list[bytes], path: Path) -> list[bytes]:
    """Return what an attacker writes into each place."""
    forged = store().encode({"_auth_user_id": "1", "fruit": "forged"}).encode()
    return [
        *values,  # those of other sessions, and of other times
        *(b"", b"x", b"\xff\xfe", b"1", b"x" * 100_000, pickle.dumps(Bomb(path))),
        forged,
        *(value.split(b" ")[0] + b" " + forged for value in values),
        *(value.split(b" ")[0] + b" " + other.split(b" ")[-1] for value in values
          for other in values if value != other),
    ]  # fmt: skip


def test_writing_redis_gains_nothing(
    use_engine: Callable[[str], None], redis_server: Topology, tmp_path: Path, user: User
) -> None:
    use_engine("redis")
    mine, theirs = saved(fruit="mine"), saved(fruit="theirs", _auth_user_id=str(user.pk))
    bomb = tmp_path / "exploded"
    cache: Any = caches["default"]
    with redis_server.primary.client(decode_responses=False) as client:
        names = [cache.make_key(f"session:{files.name_of(s.session_key)}") for s in (mine, theirs)]
        values = [client.get(name) for name in names]
        mine["fruit"] = "mine, again"
        mine.save()
        values.append(client.get(names[0]))
        assert None not in values and len(set(values)) == 3
        for value in planted(values, bomb):
            client.set(names[0], value)
            assert loaded(mine.session_key) == {"fruit": "mine, again"}, value[:100]
    assert not bomb.exists()


def test_writing_the_folder_gains_nothing(
    use_engine: Callable[[str], None], tmp_path: Path, user: User
) -> None:
    use_engine("file")
    mine, theirs = saved(fruit="mine"), saved(fruit="theirs", _auth_user_id=str(user.pk))
    bomb = tmp_path / "exploded"
    old = path_of(mine).read_bytes()
    mine["fruit"] = "mine, again"
    mine.save()
    good = path_of(mine).read_bytes()
    for value in planted([old, path_of(theirs).read_bytes(), good], bomb):
        path_of(mine).write_bytes(value)
        assert loaded(mine.session_key) == ({"fruit": "mine, again"} if value == good else {})
    assert not bomb.exists()


def path_of(session: Any) -> Path:
    return files.folder() / files.name_of(session.session_key, session.row.version)
