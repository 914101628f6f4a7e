"""Sessions: microseconds of a query among few rows and among a million

`user` reads the session and its user, as each logged-in page does; `save` writes the session.
"""

import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.report import Figures, Table, interleave
from proof.postgres import Postgres, find_postgres

LIBRARY = Path(__file__).parent.parent / "{{cookiecutter.project_slug}}/vendor/django-outlast/src"
FEW, MANY = 1_000, 1_000_000
ROWS = (
    "INSERT INTO django_session (session_key, session_data, expire_date, user_id, version)"
    " WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {})"
    " SELECT 'key' || (100000000 + n), '{}', '2099-01-01', 1, 'x' FROM numbers"
)


class Router:
    """Sends all queries to the database that is measured."""

    using = "default"

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return Router.using

    db_for_write = db_for_read


def run(rounds: int) -> Iterator[Table]:
    """Yield a table for each kind of database."""
    sys.path.insert(0, str(LIBRARY))
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="rows "))
        databases = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
        for rows in (FEW, MANY):
            place = {"NAME": f"{folder}/{rows}.sqlite3"}
            databases[f"SQLite {rows}"] = databases["default"] | place
            if find_postgres():
                port = stack.enter_context(Postgres()).port
                server = {"HOST": "127.0.0.1", "PORT": str(port), "USER": "site"}
                databases[f"PostgreSQL {rows}"] = {
                    "ENGINE": "django.db.backends.postgresql", "NAME": "postgres", **server,
                }  # fmt: skip
        make(databases)
        for kind in ("SQLite", "PostgreSQL"):
            if f"{kind} {MANY}" in databases:
                subjects = {
                    f"{rows:,} rows": partial(measure, f"{kind} {rows}", rows)
                    for rows in (FEW, MANY)
                }
                yield Table(f"sessions: {kind}", interleave(subjects, 5 * rounds, kind))


def make(databases: dict[str, Any]) -> None:
    """Set Django up, and fill the databases."""
    import django
    from django.conf import settings
    from django.core.management import call_command
    from django.db import connections

    stock = ("auth", "contenttypes", "sessions")
    settings.configure(
        DATABASES=databases,
        DATABASE_ROUTERS=["benchmarks.sessions.Router"],
        INSTALLED_APPS=["outlast", *(f"django.contrib.{name}" for name in stock)],
        SECRET_KEY="x" * 50,
        SESSION_ENGINE="outlast.sessions.db",
        USE_TZ=True,
    )
    django.setup()
    from django.contrib.auth.models import User

    for alias in list(databases)[1:]:
        Router.using = alias
        call_command("migrate", database=alias, verbosity=0)
        User.objects.create_user("ada")
        with connections[alias].cursor() as cursor:
            cursor.execute(ROWS.format(int(alias.split()[1]), "x" * 200))
            cursor.execute("ANALYZE")


def measure(alias: str, rows: int) -> Figures:
    """Return the microseconds of a read and of a save; the least of some runs."""
    from outlast.sessions.db import SessionStore

    Router.using = alias
    figures: Figures = {"user": 1e9, "save": 1e9}
    for _ in range(5):
        for name in figures:
            keys = [f"key{100_000_000 + random.randint(1, rows)}" for _ in range(100)]
            began = time.perf_counter()
            for key in keys:
                session = SessionStore(key)
                assert session["_auth_user_id"] == "1"
                if name == "save":
                    session._session_cache = {"_auth_user_id": "1"}
                    session.save()
            figures[name] = min(figures[name], (time.perf_counter() - began) / len(keys) * 1e6)
    return figures
