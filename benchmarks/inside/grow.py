"""What `benchmarks/growth.py` asks, inside the site: a line of JSON in, a line out.

["fill", number, stores] stores so many sessions in each of these, ["time", store, page] gives the
microseconds of a request by somebody who is logged in with one of them.
"""

import json
import random
import sys
from collections.abc import Iterator
from datetime import timedelta
from importlib import import_module
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from accounts.models import User
from django.conf import settings
from django.contrib import auth
from django.contrib.sessions.backends.base import VALID_KEY_CHARS
from django.contrib.sessions.models import Session as DjangoSession
from django.core.cache import caches
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import call_command
from django.test import override_settings
from django.utils import timezone
from django.utils.crypto import get_random_string
from outlast.models import Session
from outlast.sessions import db
from outlast.sessions.file import PREFIX

from benchmarks.inside.measure import Client, Variant

USERS, VISITS, AT_ONCE = 1_000, 100, 2_000
PAYLOAD = "x" * 200


class Store(Client):
    """The sessions of one engine; `keys` are those that visit in the next round."""

    suffix = ""  # of its keys

    def __init__(self, variant: Variant) -> None:
        self.variant = variant
        self.stored: list[str] = []
        with self.selected():
            self.handler = WSGIHandler()
            self.engine = import_module(variant.engine).SessionStore

    def time(self, page: str) -> float:
        self.keys = random.sample(self.stored, VISITS)
        return super().time(page)

    def write(self, sessions: list[tuple[str, Any, str]]) -> None:
        """Store these keys, primary keys of users, and encoded data."""
        raise NotImplementedError


class Rows(Store):
    """Ours: rows."""

    def write(self, sessions: list[tuple[str, Any, str]]) -> None:
        now = timezone.now()
        # "Last seen" lies ahead, so that no visit writes it.
        Session.objects.bulk_create(
            Session(
                session_key=key, user_id=user, session_data=data, version=db.version_of(data),
                expire_date=now + timedelta(days=14), address="127.0.0.1",
                user_agent="Mozilla/5.0", last_seen=now + timedelta(hours=1),
            )
            for key, user, data in sessions
        )  # fmt: skip


class Copies(Store):
    """Ours: copies in Redis of rows that are there already."""

    def write(self, sessions: list[tuple[str, Any, str]]) -> None:
        copies = {self.engine.cache_key(key): data for key, _, data in sessions}
        caches["default"].set_many(copies, 14 * 24 * 3600)


class Files(Rows):
    """Ours: rows with files, beside those without."""

    suffix = "file"

    def write(self, sessions: list[tuple[str, Any, str]]) -> None:
        folder = Path(settings.SESSION_FILE_PATH)
        folder.mkdir(mode=0o700, exist_ok=True)
        for key, _, data in sessions:
            (folder / key).write_text(data, "ascii")
        super().write([(key + self.suffix, user, f"{PREFIX}{key}") for key, user, _ in sessions])


class DjangosRows(Store):
    """Django's engine `db`."""

    def write(self, sessions: list[tuple[str, Any, str]]) -> None:
        expires = timezone.now() + timedelta(days=14)
        DjangoSession.objects.bulk_create(
            DjangoSession(session_key=key, session_data=data, expire_date=expires)
            for key, _, data in sessions
        )


class DjangosFiles(Store):
    """Django's engine `file`, in a folder of its own."""

    def selected(self) -> Any:
        folder = Path(settings.VAR) / "django-sessions"
        folder.mkdir(exist_ok=True)
        both = super().selected()
        both.options["SESSION_FILE_PATH"] = folder
        return override_settings(**both.options)

    def write(self, sessions: list[tuple[str, Any, str]]) -> None:
        for key, _, data in sessions:
            Path(self.engine(key)._key_to_file()).write_text(data, "ascii")


DJANGO = "django.contrib.sessions.backends"
STORES = {
    "Django db": (DjangosRows, Variant(f"{DJANGO}.db", "django.contrib.auth")),
    "Django file": (DjangosFiles, Variant(f"{DJANGO}.file", "django.contrib.auth")),
    "database": (Rows, Variant("outlast.sessions.db")),
    "file": (Files, Variant("outlast.sessions.file")),
    "redis": (Copies, Variant("outlast.sessions.redis")),
}


def fill(stores: dict[str, Store], number: int, users: list[User]) -> None:
    """Store so many sessions in each, of all users in turn, the same in all of them."""
    encode = db.SessionStore().encode  # as Django's: all sign with the name of the class
    turns = cycle(
        (
            user.pk,
            encode(
                {
                    auth.SESSION_KEY: str(user.pk),
                    auth.BACKEND_SESSION_KEY: settings.AUTHENTICATION_BACKENDS[-1],
                    auth.HASH_SESSION_KEY: user.get_session_auth_hash(),
                    "payload": PAYLOAD,
                }
            ),
        )
        for user in users
    )
    for start in range(0, number, AT_ONCE):
        new = [
            (get_random_string(32, VALID_KEY_CHARS), *session)
            for session in islice(turns, min(AT_ONCE, number - start))
        ]
        for store in stores.values():
            with store.selected():
                store.write(new)
            store.stored += [key + store.suffix for key, *_ in new]


def answers(stores: dict[str, Store], users: list[User]) -> Iterator[Any]:
    """Yield what there is, then an answer to each line."""
    yield list(stores)
    for line in sys.stdin:
        what, *arguments = json.loads(line)
        if what == "fill":
            number, names = arguments
            fill({name: stores[name] for name in names}, number, users)
            yield number
        else:
            name, page = arguments
            yield stores[name].time(page)


def main() -> None:
    call_command("collectstatic", interactive=False, verbosity=0)
    call_command("migrate", verbosity=0)
    User.objects.bulk_create(
        User(email=f"{number}@example.com", name="Ada") for number in range(USERS)
    )
    stores = {name: kind(variant) for name, (kind, variant) in STORES.items()}
    for answer in answers(stores, list(User.objects.all())):
        print(json.dumps(answer), flush=True)
