"""The relational database stopped, frozen, locked or pooled below a site in use.

While it is away the answer is 503, says when to come back and leaves the cookie alone. Once it
is back so is everything else.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from threading import Event

import httpx2
import psycopg
import pytest

from proof.page import opened
from proof.pgbouncer import PgBouncer, find_pgbouncer
from proof.postgres import Postgres, find_postgres
from proof.site import Browser, Site

TIMEOUT = 2  # seconds that writers wait on SQLite, here
THREADS = 8
CROWD = 30  # more than a process has threads
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
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(4)")
    return HttpResponse("slept")

@transaction.atomic
def reads_and_waits(request):
    User.objects.count()
    time.sleep(5)
    return HttpResponse("waited")

def cursors(request):
    return HttpResponse(str(len(list(User.objects.iterator()))))

urlpatterns += [path(f"{view.__name__}/", view) for view in (background, slow, reads_and_waits,
                                                             cursors)]
"""


def make(folder: Path, variables: dict[str, str]) -> Site:
    site = Site(folder, "database", variables)
    with (site.folder / "config" / "urls.py").open("a", encoding="utf-8") as urls:
        urls.write(VIEWS)
    return site


def assert_is_away(answer: httpx2.Response, seconds: float) -> None:
    assert answer.status_code == 503, answer.status_code
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert "sessionid" not in answer.headers.get("Set-Cookie", "")
    assert answer.elapsed.total_seconds() < seconds


def crowd(site: Site, browser: Browser, path: str = "/dashboard/", size: int = CROWD) -> set[int]:
    """Return the statuses of many requests of one session at the same time."""
    cookies = dict(browser.cookies)

    def ask(_: int) -> int:
        with site.browser() as one:
            one.timeout = PATIENCE
            one.cookies.update(cookies)
            return one.get(path).status_code

    with ThreadPoolExecutor(size) as pool:
        return set(pool.map(ask, range(size)))


# --- SQLite ---


@pytest.fixture(scope="module")
def sqlite_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("sqlite")
    url = f"sqlite:///{folder / 'db.sqlite3'}?timeout={TIMEOUT}"
    with make(folder, {"DATABASE_URL": url}).running(workers=2) as site:
        yield site


@contextmanager
def locked(site: Site) -> Iterator[None]:
    path = site.folder.parent / "db.sqlite3"
    with closing(sqlite3.connect(path, isolation_level=None, timeout=60)) as other:
        # "Last seen" is due to be written: no page waits for that.
        other.execute("UPDATE django_session SET last_seen = datetime('now', '-1 hour')")
        other.execute("BEGIN IMMEDIATE")
        yield


def test_sqlite_locked_by_another_process(sqlite_site: Site) -> None:
    with sqlite_site.browser() as reader, sqlite_site.browser() as writer:
        reader.log_in()
        writer.log_in()
        with locked(sqlite_site):
            for _ in range(3):
                answer = reader.get("/dashboard/")
                assert answer.status_code == 200
                assert answer.elapsed.total_seconds() < TIMEOUT / 2
            assert_is_away(writer.log_out(), TIMEOUT + 2)
            with sqlite_site.browser() as newcomer:
                assert_is_away(newcomer.log_in(), TIMEOUT + 2)
        assert reader.logged_in
        assert writer.logged_in
        assert writer.log_out().status_code == 302


def test_many_logins_at_once_on_sqlite_are_no_outage(sqlite_site: Site) -> None:
    def log_in_and_out(_: int) -> tuple[int, int]:
        with sqlite_site.browser() as browser:
            browser.timeout = PATIENCE
            return browser.log_in().status_code, browser.log_out().status_code

    with ThreadPoolExecutor(CROWD) as pool:
        assert set(pool.map(log_in_and_out, range(2 * CROWD))) == {(302, 302)}


def test_a_transaction_that_reads_stops_nobody(sqlite_site: Site) -> None:
    with (
        sqlite_site.browser() as browser,
        sqlite_site.browser() as other,
        ThreadPoolExecutor(1) as pool,
    ):
        other.timeout = PATIENCE
        waiting = pool.submit(other.get, "/reads_and_waits/")
        time.sleep(0.5)
        answer = browser.log_in()
        assert answer.status_code == 302
        assert answer.elapsed.total_seconds() < TIMEOUT
        assert not waiting.done(), "the test was too slow to show anything"
        assert waiting.result().text == "waited"


# --- PostgreSQL, if this machine has it; nox says if not ---

if find_postgres():

    @pytest.fixture(scope="module")
    def server() -> Iterator[Postgres]:
        with Postgres() as server:
            yield server

    @pytest.fixture(scope="module")
    def made(server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Site:
        return make(tmp_path_factory.mktemp("postgres"), {"DATABASE_URL": server.url()})

    @pytest.fixture
    def site(made: Site) -> Iterator[Site]:
        with made.running(workers=1) as site:
            yield site

    def connections(server: Postgres) -> int:
        with psycopg.connect(server.url()) as admin:
            row = admin.execute(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE backend_type = 'client backend' AND pid != pg_backend_pid()"
            ).fetchone()
        assert row
        return int(row[0])

    def test_stopped(server: Postgres, site: Site) -> None:
        with site.browser() as browser, site.browser() as other:
            browser.log_in()
            other.log_in()
            server.stop()
            assert crowd(site, browser) == {503}
            assert_is_away(browser.get("/dashboard/"), 2)
            assert browser.get("/healthz").status_code == 200
            assert browser.get("/readyz").status_code == 503
            server.start()
            assert browser.get("/dashboard/").status_code == 200
            assert crowd(site, other) == {200}
            assert other.log_out().status_code == 302
            assert not other.logged_in
            assert other.log_in().status_code == 302

    def test_restarted_while_no_page_was_asked_for(server: Postgres, site: Site) -> None:
        with site.browser() as browser:
            browser.log_in()
            crowd(site, browser)  # all threads have a connection
            server.stop()
            server.start()
            assert crowd(site, browser) == {200}

    def test_restarted_under_load(server: Postgres, site: Site) -> None:
        """Two seconds after PostgreSQL is back there are no errors any more."""
        over = Event()

        def ask(browser: Browser) -> list[tuple[float, int]]:
            answers = []
            while not over.is_set():
                answers.append((time.monotonic(), browser.get("/dashboard/").status_code))
            return answers

        with site.browser() as browser, ThreadPoolExecutor(8) as pool:
            browser.log_in()
            asked = [pool.submit(ask, browser) for _ in range(8)]
            time.sleep(1)
            server.stop()
            time.sleep(1)
            server.start()
            back = time.monotonic()
            time.sleep(4)
            over.set()
            answers = [answer for future in asked for answer in future.result()]
        assert {status for _, status in answers} == {200, 503}
        assert len([1 for asked_at, _ in answers if asked_at > back]) > 100
        assert {status for asked_at, status in answers if asked_at > back + 2} == {200}

    def test_frozen(server: Postgres, site: Site) -> None:
        """Pages wait for the server; health checks do not wait for pages."""
        with site.browser() as browser, ThreadPoolExecutor(1) as pool:
            browser.log_in()
            crowd(site, browser)
            server.pause()
            try:
                waiting = pool.submit(crowd, site, browser)
                time.sleep(1)
                times = []
                for _ in range(5):
                    alive = browser.get("/healthz")
                    assert alive.status_code == 200
                    times.append(alive.elapsed.total_seconds())
                assert sorted(times)[2] < 0.05
                ready = browser.get("/readyz")
                assert (ready.status_code, ready.json()["ready"]) == (503, False)
                assert ready.elapsed.total_seconds() < 5
                assert not waiting.done()
            finally:
                server.resume()
            assert waiting.result() == {200}
            assert browser.get("/dashboard/").elapsed.total_seconds() < 1

    def restart(server: Postgres) -> None:
        server.stop()
        server.start()

    def stop_for_a_while(server: Postgres) -> None:
        server.stop()
        time.sleep(3)
        server.start()

    def freeze(server: Postgres) -> None:
        server.pause()
        time.sleep(5)
        server.resume()

    @pytest.mark.parametrize("fault", [restart, stop_for_a_while, freeze])
    def test_sockets_outlive(
        fault: Callable[[Postgres], None], server: Postgres, made: Site
    ) -> None:
        """Open pages at both workers hear of a login again, two seconds after the fault."""
        with made.running(workers=2), ExitStack() as stack:
            browser = stack.enter_context(made.browser())
            browser.log_in()
            pages = [stack.enter_context(opened(made, made.port, browser)) for _ in range(10)]
            for page in pages:
                page.hear("heartbeat", 5)
            fault(server)
            time.sleep(2)
            with made.browser() as other:
                assert other.log_in().status_code == 302
            for page in pages:
                page.hear("signed_in")

    def test_as_many_connections_as_threads(server: Postgres, site: Site) -> None:
        with site.browser() as browser:
            browser.log_in()
            assert crowd(site, browser, size=100) == {200}
            assert 1 <= connections(server) <= THREADS + 2

    def test_threads_that_end_give_their_connections_back(server: Postgres, site: Site) -> None:
        with site.browser() as browser:
            browser.log_in()
            for _ in range(12):
                assert browser.get("/background/").text == "ok"
            assert crowd(site, browser, "/background/") == {200}
            assert crowd(site, browser) == {200}
            deadline = time.monotonic() + 20
            while (left := connections(server)) > THREADS + 2:  # the garbage collector closes them
                assert time.monotonic() < deadline, f"{left} connections are left"
                assert browser.get("/dashboard/").status_code == 200

    def test_a_slow_statement(server: Postgres, site: Site) -> None:
        """It takes as long as it takes, unless there is a limit: then PostgreSQL ends it."""
        with site.browser() as browser:
            assert browser.get("/slow/").text == "slept"
        site.stop()
        site.variables["DATABASE_STATEMENT_SECONDS"] = "1"
        try:
            with site.running(), site.browser() as browser:
                answer = browser.get("/slow/")
                assert answer.status_code == 500, "it is no outage"
                assert 1 <= answer.elapsed.total_seconds() < 3
        finally:
            del site.variables["DATABASE_STATEMENT_SECONDS"]
            site.start()
        assert "due to statement timeout" in (site.folder / "var" / "server.log").read_text()

    @pytest.mark.skipif(not find_pgbouncer(), reason="PgBouncer is not on this machine")
    def test_pgbouncer_in_transaction_mode(server: Postgres, made: Site, tmp_path: Path) -> None:
        with PgBouncer(server.port) as bouncer:
            made.variables["DATABASE_URL"] = bouncer.url()
            try:
                made.manage("migrate")
                with made.running() as site, site.browser() as browser:
                    assert browser.log_in().status_code == 302
                    assert crowd(site, browser) == {200}
                    assert crowd(site, browser, "/cursors/") == {200}
                    page = browser.get("/admin/accounts/user/add/")
                    assert page.status_code == 200
                    assert browser.log_out().status_code == 302
            finally:
                made.variables["DATABASE_URL"] = server.url()
