"""Sessions: microseconds of a query among few rows and among a million

`user` reads the session and its user, as each logged-in page does; `save` writes the session.
"""

import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from benchmarks.report import Measured, Table
from proof.postgres import Postgres, find_postgres
from proof.site import Site

NAMES = ("1,000 rows", "1,000,000 rows")
# Runs in the site; prints the least microseconds of the rounds among each number of rows.
SCRIPT = """
import json, random, time
from accounts.models import User
from django.db import connection
from outlast.sessions.db import SessionStore

ROWS = '''INSERT INTO django_session (session_key, session_data, expire_date, user_id, version)
    WITH RECURSIVE numbers(n) AS (SELECT %s UNION ALL SELECT n + 1 FROM numbers WHERE n < %s)
    SELECT 'key' || (100000000 + n), %s, '2099-01-01', %s, 'x' FROM numbers'''
user = User.objects.get().pk

def measure(rows, name):
    keys = [f"key{100_000_000 + random.randint(1, rows)}" for _ in range(100)]
    began = time.perf_counter()
    for key in keys:
        session = SessionStore(key)
        assert session["_auth_user_id"] == str(user)
        if name == "save":
            session._session_cache = {"_auth_user_id": str(user)}
            session.save()
    return (time.perf_counter() - began) / len(keys) * 1e6

for first, last in (1, 1_000), (1_001, 1_000_000):
    with connection.cursor() as cursor:
        cursor.execute(ROWS, [first, last, "x" * 200, user])
        cursor.execute("ANALYZE")
    print(json.dumps({name: min(measure(last, name) for _ in range(ROUNDS))
                      for name in ("user", "save")}))
"""


def run(rounds: int) -> Iterator[Table]:
    """Yield a table for each kind of database."""
    with tempfile.TemporaryDirectory(prefix="rows ") as folder, ExitStack() as stack:
        databases: dict[str, dict[str, str]] = {"SQLite": {}}
        if find_postgres():
            databases["PostgreSQL"] = {"DATABASE_URL": stack.enter_context(Postgres()).url()}
        for kind, variables in databases.items():
            site = Site(Path(folder) / kind, "database", variables)
            said = site.manage("shell", "-v0", "-c", SCRIPT.replace("ROUNDS", str(25 * rounds)))
            figures = map(json.loads, said.splitlines()[-2:])
            measured: Measured = {name: [next(figures)] for name in NAMES}
            yield Table(f"sessions: {kind}", measured)
