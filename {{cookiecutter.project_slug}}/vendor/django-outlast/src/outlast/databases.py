"""Django's `DATABASES` from `DATABASE_URL`; options in the address count for more than these.

https://docs.djangoproject.com/en/6.1/ref/databases/
"""

from typing import Any

from outlast.environment import POSTGRES_ENGINES, Env

SQLITE = {
    # Allow readers and one writer at the same time. Not "transaction_mode": "IMMEDIATE", with
    # which a transaction that only reads blocks all others.
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    "timeout": 10,  # seconds that writers wait for each other
}
POSTGRESQL = {
    "connect_timeout": 3,  # seconds, after which the answer is 503
    "tcp_user_timeout": 5000,  # milliseconds, for a server that vanished
    "keepalives_idle": 30,
}


def load(env: Env, default: str) -> dict[str, dict[str, Any]]:
    """Return the databases that the environment names."""
    # Page threads keep their connections, and replace those that the server has closed.
    database: dict[str, Any] = {"CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True}
    database |= env.db_url("DATABASE_URL", default=default)
    if database["ENGINE"].endswith("sqlite3"):
        database["OPTIONS"] = SQLITE | database.get("OPTIONS", {})
    elif database["ENGINE"].endswith(POSTGRES_ENGINES):
        # These cursors, which the admin uses, fail with PgBouncer in transaction mode.
        database.setdefault("DISABLE_SERVER_SIDE_CURSORS", True)
        database["OPTIONS"] = POSTGRESQL | database.get("OPTIONS", {})
        if database["OPTIONS"].get("pool"):
            database["CONN_MAX_AGE"] = 0  # the pool keeps the connections
    if "DATABASE_LISTEN_URL" not in env:
        return {"default": database}
    # For live messages, if DATABASE_URL is a connection pooler. In tests it is the test database.
    listen = env.db_url("DATABASE_LISTEN_URL") | {"TEST": {"MIRROR": "default"}}
    return {"default": database, "listen": listen}
