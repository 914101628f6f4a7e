"""SQLite locked by another process, and by many requests of a site at once."""

import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from proof.outage.database import CROWD, PATIENCE, assert_is_away
from proof.site import Site

TIMEOUT = 2  # seconds that writers wait here
VIEW = """
import time
from django.db import transaction
from django.http import HttpResponse
from accounts.models import User

@transaction.atomic
def reads_and_waits(request):
    User.objects.count()
    time.sleep(5)
    return HttpResponse("waited")

urlpatterns += [path("reads-and-waits/", reads_and_waits)]
"""


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sqlite") / "db.sqlite3"


@pytest.fixture(scope="module")
def site(database: Path) -> Iterator[Site]:
    variables = {"DATABASE_URL": f"sqlite:///{database}?timeout={TIMEOUT}"}
    site = Site(database.parent, "database", variables, added={"config/urls.py": VIEW})
    with site.running(workers=2):
        yield site


def test_locked_by_another_process(site: Site, database: Path) -> None:
    with site.browser() as reader, site.browser() as writer:
        reader.log_in()
        writer.log_in()
        with closing(sqlite3.connect(database, isolation_level=None, timeout=60)) as other:
            # "Last seen" is due to be written: no page waits for that.
            other.execute("UPDATE django_session SET last_seen = datetime('now', '-1 hour')")
            other.execute("BEGIN IMMEDIATE")
            answer = reader.get("/dashboard/")
            assert answer.status_code == 200
            assert answer.elapsed.total_seconds() < TIMEOUT / 2
            assert_is_away(writer.log_out(), TIMEOUT + 2)
            with site.browser() as newcomer:
                assert_is_away(newcomer.log_in(), TIMEOUT + 2)
        assert reader.logged_in
        assert writer.log_out().status_code == 302


def test_many_logins_at_once_are_no_outage(site: Site) -> None:
    def log_in_and_out(_: int) -> tuple[int, int]:
        with site.browser(timeout=PATIENCE) as browser:
            return browser.log_in().status_code, browser.log_out().status_code

    with ThreadPoolExecutor(CROWD) as pool:
        assert set(pool.map(log_in_and_out, range(CROWD))) == {(302, 302)}


def test_a_transaction_that_reads_blocks_no_request(site: Site) -> None:
    with site.browser(timeout=PATIENCE) as browser, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(browser.get, "/reads-and-waits/")
        time.sleep(0.5)
        with site.browser() as newcomer:
            answer = newcomer.log_in()
        assert answer.status_code == 302
        assert answer.elapsed.total_seconds() < TIMEOUT
        assert not waiting.done(), "the test was too slow to show anything"
        assert waiting.result().text == "waited"
