"""The database of a site of the first edition goes on under the second."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime

from proof.site import EMAIL, PASSWORD
from tests.conftest import TEMPLATE, Bake

SECRET_KEY = "only-for-the-database-of-the-first-edition-in-the-tests-of-updates"  # noqa: S105
CLIENT = """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
import django
django.setup()
from django.test import Client
client = Client(headers={"host": "127.0.0.1"})
"""
LOGGED_IN = f"""{CLIENT}
client.cookies["sessionid"] = sys.argv[1]
assert client.get("/dashboard/").status_code == 200
"""
LOG_IN = f"""{CLIENT}
client.get("/accounts/login/")
form = dict(zip(("username", "password"), sys.argv[1:]))
assert client.post("/accounts/login/", form).status_code == 302
assert client.get("/dashboard/").status_code == 200
"""


def test_the_database_of_the_first_edition(bake: Bake) -> None:
    """People stay logged in, the old password logs in, a second migration changes nothing."""
    site = bake()
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    (site.folder / "var").mkdir()
    recorded = (TEMPLATE / "tests" / "first_edition.sql").read_text("utf-8")
    with closing(sqlite3.connect(site.folder / "var" / "db.sqlite3")) as database:
        database.executescript(recorded)
        database.execute("UPDATE backends_session SET created_at = ?, last_seen = ?", [now, now])
        database.commit()
        ((key,),) = database.execute("SELECT session_key FROM backends_session")
    variables = {"DJANGO_SECRET_KEY": SECRET_KEY}
    site.run("manage.py", "migrate", **variables)
    assert "No migrations to apply" in site.run("manage.py", "migrate", **variables)
    site.run("-c", LOGGED_IN, key, **variables)
    site.run("-c", LOG_IN, EMAIL, PASSWORD, **variables)
    section = (
        (TEMPLATE / "docs" / "update.md").read_text("utf-8").partition("## From 0.1 to 0.2")[2]
    )
    with closing(sqlite3.connect(site.folder / "var" / "db.sqlite3")) as database:
        database.executescript(section.partition("```sql")[2].partition("```")[0])
    site.run("manage.py", "remove_stale_contenttypes", "--noinput", **variables)
    site.run("-c", LOG_IN, EMAIL, PASSWORD, **variables)
