"""A site on one profile from outside: people log in, and data is where the profile says."""

import hashlib
import json
import re
import sqlite3
import sys
from contextlib import closing
from typing import Any

import pytest

from proof.site import Site

# Where sessions and cache of each profile can be seen from outside the site: in the row of the
# session, in the table of the cache, in a file below var/, or in Redis.
STORED_IN: dict[str, tuple[set[str], set[str]]] = {
    "database": ({"row"}, {"table"}),
    "file": ({"file"}, {"file"}),
    "dummy": ({"row"}, set()),
    "redis": ({"row", "redis"}, {"redis"}),
    "redis-sentinel": ({"row", "redis"}, {"redis"}),
    "redis-cluster": ({"row", "redis"}, {"redis"}),
}
# Starting a process takes as long as all that this one does.
SCRIPT = """
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.core.cache import cache
from django.core.management import call_command
call_command("check", deploy=True, fail_level="WARNING")
cache.set("whereabouts", 7)
print(type(layer := get_channel_layer()).__name__)
async_to_sync(layer.group_send)("whereabouts", {"type": "message"})
"""


def row(site: Site, query: str, *values: str) -> Any:
    """Return the first row of a query in the site's SQLite database."""
    with closing(sqlite3.connect(site.folder / "var" / "db.sqlite3")) as database:
        return database.execute(query, values).fetchone()


def keys(topology: Any) -> list[str]:
    """Return all keys of the primaries."""
    return [
        str(key)
        for primary in (topology.primaries if topology else ())
        for key in primary.client().scan_iter(count=1000)
    ]


def test_people_log_in_and_out(site: Site) -> None:
    with site.browser() as ada, site.browser() as second:
        assert not ada.logged_in
        assert ada.log_in().headers["location"] == "/dashboard/"
        assert all(ada.logged_in for _ in range(10))
        second.log_in()
        assert second.session_key != ada.session_key
        ended = ada.session_key
        assert ada.log_out().status_code == 302
        assert not ada.logged_in
        assert second.logged_in, "one logout ended another session"
        ada.cookies.set("__Host-sessionid", ended, domain="127.0.0.1")
        assert not ada.logged_in, "a replayed cookie is logged in"


def test_where_the_session_is_stored(site: Site, profile: str, topology: Any) -> None:
    """Only the database contains a key with which anyone can log in."""
    with site.browser() as browser:
        browser.log_in()
        assert browser.logged_in
        key = browser.session_key
    (version,) = row(site, "SELECT version FROM django_session WHERE session_key = ?", key)
    names = {path.name for path in (site.folder / "var" / "sessions").glob("*")}
    stored = {
        "row": not version.startswith("file-"),
        "file": digest(f"{key} {version}") in names,
        "redis": any(digest(key) in name for name in keys(topology)),
    }
    assert {place for place in stored if stored[place]} == STORED_IN[profile][0]
    assert not any(key in name for name in [*names, *keys(topology)])


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_where_entries_and_messages_go(site: Site, profile: str, topology: Any) -> None:
    """What another process caches and sends; only Redis can be observed from outside."""
    if topology is None:
        assert "LocalLayer" in site.manage("shell", "-c", SCRIPT)
    else:
        with (
            topology.primary.client(decode_responses=False) as client,
            client.pubsub() as listener,
        ):
            listener.psubscribe("my-site*")
            site.manage("shell", "-c", SCRIPT)
            heard = [listener.get_message(timeout=1) for _ in range(3)]
        assert "whereabouts" in str(heard)
    folder = site.folder / "var" / "cache"
    found = {
        "table": row(site, "SELECT 1 FROM site_cache WHERE cache_key LIKE '%whereabouts'"),
        "file": any(path.is_file() for path in folder.rglob("*")),
        "redis": any("whereabouts" in name for name in keys(topology)),
    }
    assert {place for place in found if found[place]} == STORED_IN[profile][1]


@pytest.mark.any_profile
def test_no_migration_is_missing(site: Site) -> None:
    site.manage("makemigrations", "--check", "--dry-run")


@pytest.mark.any_profile
def test_the_log_is_json_line_by_line(site: Site) -> None:
    """Static files, which are streamed, cause no warnings."""
    with site.browser() as browser:
        page = browser.get("/accounts/login/")
        assert "server" not in page.headers
        style = re.search(r'href="(/static/css/[^"]+)"', page.text)
        assert style
        assert browser.get(style[1]).status_code == 200
        assert browser.get("/nowhere/").status_code == 404
    lines = (site.folder / "var" / "server.log").read_text("utf-8").splitlines()
    said = [json.loads(line) for line in lines]
    assert {"/accounts/login/", "/nowhere/"} <= {line.get("path") for line in said}
    assert "StreamingHttpResponse" not in str(said)


@pytest.mark.slow
@pytest.mark.any_profile
def test_tests_run_in_parallel(site: Site) -> None:
    """pytest-xdist gives each process a database of its own, by the name of Django's engine."""
    command = ["-m", "pytest", "-q", "-n", "2", "-p", "xdist", "tests/test_permissions.py"]
    done = site.execute(sys.executable, *command)
    assert done.returncode == 0, done.stdout
    assert "bringing up nodes" in done.stdout
