"""The relational database stopped, frozen, locked or pooled while a site is in use."""

import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from statistics import median
from threading import Event

import httpx2
import psycopg
import pytest

from proof.pgbouncer import PgBouncer, find_pgbouncer
from proof.postgres import Postgres
from proof.site import Browser, Site

TIMEOUT = 2  # seconds that writers wait on SQLite, here
THREADS, CROWD = 8, 30  # of a process; more requests than that
PATIENCE = httpx2.Timeout(60)
VIEWS = """
import threading, time
from django.db import connection, transaction
from django.http import HttpResponse
from accounts.models import User

def background(request):
    thread = threading.Thread(target=User.objects.count)
    thread.start()
    thread.join()
    return HttpResponse("ok")

def slow(request):
    connection.cursor().execute("SELECT pg_sleep(4)")
    return HttpResponse("slept")

@transaction.atomic
def reads_and_waits(request):
    User.objects.count()
    time.sleep(5)
    return HttpResponse("waited")

def cursors(request):
    return HttpResponse(str(len(list(User.objects.iterator()))))

views = background, slow, reads_and_waits, cursors
urlpatterns += [path(f"{view.__name__}/", view) for view in views]
"""


def add_views(folder: Path) -> None:
    with (folder / "config" / "urls.py").open("a", encoding="utf-8") as urls:
        urls.write(VIEWS)


def assert_is_away(answer: httpx2.Response, seconds: float) -> None:
    assert answer.status_code == 503, answer.status_code
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert "sessionid" not in answer.headers.get("Set-Cookie", "")
    assert answer.elapsed.total_seconds() < seconds


def crowd(browser: Browser, path: str = "/dashboard/", size: int = CROWD) -> set[int]:
    """Return the statuses of many requests of one session at the same time."""
    browser.timeout = PATIENCE
    with ThreadPoolExecutor(size) as pool:
        return {answer.status_code for answer in pool.map(browser.get, [path] * size)}


# --- SQLite ---


@pytest.fixture(scope="module")
def sqlite_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("sqlite")
    url = f"sqlite:///{folder / 'db.sqlite3'}?timeout={TIMEOUT}"
    with Site(folder, "database", {"DATABASE_URL": url}, edit=add_views).running(
        workers=2
    ) as site:
        yield site


def test_sqlite_locked_by_another_process(sqlite_site: Site) -> None:
    path = sqlite_site.folder.parent / "db.sqlite3"
    with sqlite_site.browser() as reader, sqlite_site.browser() as writer:
        reader.log_in()
        writer.log_in()
        with closing(sqlite3.connect(path, isolation_level=None, timeout=60)) as other:
            # "Last seen" is due to be written: no page waits for that.
            other.execute("UPDATE django_session SET last_seen = datetime('now', '-1 hour')")
            other.execute("BEGIN IMMEDIATE")
            answer = reader.get("/dashboard/")
            assert answer.status_code == 200
            assert answer.elapsed.total_seconds() < TIMEOUT / 2
            assert_is_away(writer.log_out(), TIMEOUT + 2)
            with sqlite_site.browser() as newcomer:
                assert_is_away(newcomer.log_in(), TIMEOUT + 2)
        assert reader.logged_in
        assert writer.log_out().status_code == 302


def test_many_logins_at_once_on_sqlite_are_no_outage(sqlite_site: Site) -> None:
    def log_in_and_out(_: int) -> tuple[int, int]:
        with sqlite_site.browser() as browser:
            browser.timeout = PATIENCE
            return browser.log_in().status_code, browser.log_out().status_code

    with ThreadPoolExecutor(CROWD) as pool:
        assert set(pool.map(log_in_and_out, range(CROWD))) == {(302, 302)}


def test_a_transaction_that_reads_blocks_no_request(sqlite_site: Site) -> None:
    browsers = sqlite_site.browser(), sqlite_site.browser()
    with browsers[0] as browser, browsers[1] as other, ThreadPoolExecutor(1) as pool:
        other.timeout = PATIENCE
        waiting = pool.submit(other.get, "/reads_and_waits/")
        time.sleep(0.5)
        answer = browser.log_in()
        assert answer.status_code == 302
        assert answer.elapsed.total_seconds() < TIMEOUT
        assert not waiting.done(), "the test was too slow to show anything"
        assert waiting.result().text == "waited"


# --- PostgreSQL ---


@pytest.fixture(scope="module")
def made(server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Site:
    variables = {"DATABASE_URL": server.url()}
    return Site(tmp_path_factory.mktemp("postgres"), "database", variables, edit=add_views)


@pytest.fixture
def site(made: Site) -> Iterator[Site]:
    with made.running():
        yield made


def connections(server: Postgres) -> int:
    query = "SELECT count(*) - 1 FROM pg_stat_activity WHERE backend_type = 'client backend'"
    with psycopg.connect(server.url()) as admin:
        (number,) = admin.execute(query).fetchone() or (0,)
    return int(number)


def test_stopped(server: Postgres, site: Site) -> None:
    with site.browser() as browser:
        browser.log_in()
        server.stop()
        assert crowd(browser) == {503}
        assert_is_away(browser.get("/dashboard/"), 2)
        assert browser.get("/healthz").status_code == 200
        assert browser.get("/readyz").status_code == 503
        server.start()
        assert crowd(browser) == {200}
        server.stop()  # and back before a page is asked for
        server.start()
        assert crowd(browser) == {200}
        assert browser.log_out().status_code == 302


def test_restarted_under_load(server: Postgres, site: Site) -> None:
    """Two seconds after PostgreSQL is back there are no errors any more."""
    over = Event()
    answers: list[tuple[float, int]] = []

    def ask() -> None:
        while not over.is_set():
            answers.append((time.monotonic(), browser.get("/dashboard/").status_code))

    with site.browser() as browser, ThreadPoolExecutor(8) as pool:
        browser.log_in()
        asked = [pool.submit(ask) for _ in range(8)]
        time.sleep(1)
        server.stop()
        time.sleep(1)
        server.start()
        back = time.monotonic()
        time.sleep(4)
        over.set()
        assert [future.result() for future in asked] == [None] * 8
    assert {status for _, status in answers} == {200, 503}
    assert len([1 for asked_at, _ in answers if asked_at > back]) > 100
    assert {status for asked_at, status in answers if asked_at > back + 2} == {200}


def test_frozen(server: Postgres, site: Site) -> None:
    """Pages wait for the server; health checks do not wait for pages."""
    with site.browser() as browser, ThreadPoolExecutor(1) as pool:
        browser.log_in()
        crowd(browser)
        server.pause()
        waiting = pool.submit(crowd, browser)
        time.sleep(1)
        alive = [browser.get("/healthz") for _ in range(5)]
        ready = browser.get("/readyz")
        is_waiting = not waiting.done()
        server.resume()
        assert {answer.status_code for answer in alive} == {200}
        assert median(answer.elapsed.total_seconds() for answer in alive) < 0.05
        assert (ready.status_code, ready.json()["ready"]) == (503, False)
        assert ready.elapsed.total_seconds() < 5
        assert is_waiting
        assert waiting.result() == {200}
        assert browser.get("/dashboard/").elapsed.total_seconds() < 1


def test_connections(server: Postgres, site: Site) -> None:
    """There are as many as threads, and threads that end give theirs back."""
    with site.browser() as browser:
        browser.log_in()
        assert crowd(browser, size=100) == {200}
        assert 1 <= connections(server) <= THREADS + 2
        for _ in range(12):
            assert browser.get("/background/").text == "ok"
        assert crowd(browser, "/background/") == {200}
        deadline = time.monotonic() + 20
        while (left := connections(server)) > THREADS + 2:  # the garbage collector closes them
            assert time.monotonic() < deadline, f"{left} connections are left"
            assert crowd(browser) == {200}


def test_a_slow_statement(server: Postgres, site: Site) -> None:
    """It takes as long as it takes, unless there is a limit: then PostgreSQL ends it."""
    with site.browser() as browser:
        assert browser.get("/slow/").text == "slept"
    site.stop()
    site.variables["DATABASE_STATEMENT_SECONDS"] = "1"
    site.start()
    del site.variables["DATABASE_STATEMENT_SECONDS"]
    with site.browser() as browser:
        answer = browser.get("/slow/")
        assert answer.status_code == 500, "it is no outage"
        assert 1 <= answer.elapsed.total_seconds() < 3
    assert "due to statement timeout" in (site.folder / "var" / "server.log").read_text()


@pytest.mark.skipif(not find_pgbouncer(), reason="PgBouncer is not on this machine")
def test_pgbouncer_in_transaction_mode(server: Postgres, made: Site) -> None:
    with PgBouncer(server.port) as bouncer:
        made.variables["DATABASE_URL"] = bouncer.url()
        made.manage("migrate")
        with made.running() as site, site.browser() as browser:
            assert browser.log_in().status_code == 302
            assert crowd(browser, "/cursors/") == {200}
            assert browser.get("/admin/accounts/user/add/").status_code == 200
    made.variables["DATABASE_URL"] = server.url()
