"""The relational database stopped, hung or locked below a site in use: 503, and no logout.

Without it nobody can be told who they are; so the answer comes soon, says when to come
back, and leaves the cookie alone. Once the database is back so is everything else.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from threading import Event, Thread

import httpx
import psycopg
import pytest

from proof.postgres import Postgres, find_postgres
from proof.site import Browser, Site

SECONDS = 3  # settings.DATABASE_SECONDS
CROWD = 30  # more than the pool has connections
TURNS = 3  # in which the ten connections of a worker serve them, should it get them all
LONG = 8  # seconds after which psycopg's pool, left alone, tries again only every 8 s or more

Made = Callable[[str, dict[str, str]], Site]


@pytest.fixture(scope="module")
def sqlite_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(tmp_path_factory.mktemp("sqlite"), "database", {}).running(workers=2) as site:
        yield site


def database(site: Site) -> "closing[sqlite3.Connection]":
    """Return a connection of somebody else to the site's database."""
    path = site.folder / "var" / "db.sqlite3"
    return closing(sqlite3.connect(path, isolation_level=None, timeout=60))


def assert_is_away(answer: httpx.Response, seconds: float) -> None:
    assert answer.status_code == 503, answer.status_code
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert "sessionid" not in answer.headers.get("Set-Cookie", "")
    assert answer.elapsed.total_seconds() < seconds


def test_sqlite_locked_by_somebody_who_never_ends(sqlite_site: Site) -> None:
    with sqlite_site.browser() as reader, sqlite_site.browser() as writer:
        reader.log_in()
        writer.log_in()
        with database(sqlite_site) as somebody:
            # "Last seen" is due to be written: nobody waits for that.
            somebody.execute("UPDATE outlast_session SET last_seen = datetime('now', '-1 hour')")
            somebody.execute("BEGIN IMMEDIATE")
            for _ in range(3):
                assert reader.logged_in
                answer = reader.get("/dashboard/")
                assert answer.status_code == 200
                assert answer.elapsed.total_seconds() < SECONDS / 2
            assert_is_away(writer.log_out(), SECONDS + 2)
            with sqlite_site.browser() as newcomer:
                assert_is_away(newcomer.log_in(), SECONDS + 2)
        assert reader.logged_in
        assert writer.logged_in
        assert writer.log_out().status_code == 302
        with sqlite_site.browser() as newcomer:
            assert newcomer.log_in().status_code == 302


def test_many_writers_on_sqlite_are_no_outage(sqlite_site: Site) -> None:
    """Others hold the lock all the time, but never one of them for long."""
    over = Event()

    def write() -> None:
        with database(sqlite_site) as somebody:
            somebody.execute("CREATE TABLE somebody (number)")
            while not over.is_set():
                somebody.execute("BEGIN IMMEDIATE")
                somebody.execute("INSERT INTO somebody VALUES (1)")
                time.sleep(0.3)
                somebody.execute("COMMIT")

    writer = Thread(target=write)
    with sqlite_site.browser() as browser:
        browser.timeout = httpx.Timeout(60)
        form = browser.get("/accounts/login/")
        assert form.status_code == 200
        writer.start()
        try:
            with ThreadPoolExecutor() as pool:
                answer = pool.submit(browser.log_in)
                time.sleep(2 * SECONDS)
                over.set()
                assert answer.result().status_code == 302
        finally:
            over.set()
            writer.join(90)
            assert not writer.is_alive(), "The other writer still waits for the lock."
        assert answer.result().elapsed.total_seconds() > SECONDS, "it did not wait at all"
        assert browser.logged_in


# --- PostgreSQL, where there is one; nox says when there is none ---


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


@pytest.fixture(scope="module")
def site(server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("postgres")
    with Site(folder, "database", {"DATABASE_URL": server.url()}).running(workers=2) as site:
        yield site


@contextmanager
def stopped(server: Postgres) -> Iterator[None]:
    server.stop()
    try:
        yield
        time.sleep(LONG)
    finally:
        server.start()


@contextmanager
def hung(server: Postgres) -> Iterator[None]:
    server.pause()
    try:
        yield
    finally:
        server.resume()


@contextmanager
def locked(server: Postgres) -> Iterator[None]:
    url = f"{server.url()}?connect_timeout=10&options=-c%20lock_timeout%3D30s"
    with psycopg.connect(url) as somebody:
        somebody.execute("LOCK TABLE outlast_session IN ACCESS EXCLUSIVE MODE")
        yield
        somebody.rollback()


def crowd(site: Site, browser: Browser) -> list[httpx.Response]:
    """Return the answers to many requests of one session at the same time."""
    cookies = dict(browser.cookies)

    def ask(_: int) -> httpx.Response:
        with site.browser() as one:
            one.timeout = httpx.Timeout(60)
            one.cookies.update(cookies)
            return one.get("/dashboard/")

    with ThreadPoolExecutor(CROWD) as pool:
        return list(pool.map(ask, range(CROWD)))


if find_postgres():

    @pytest.mark.parametrize(
        ("fault", "seconds"), [(stopped, 2), (hung, SECONDS + 2), (locked, TURNS * SECONDS + 2)]
    )
    def test_postgresql_away(
        fault: Callable[[Postgres], AbstractContextManager[None]],
        seconds: float,
        server: Postgres,
        site: Site,
    ) -> None:
        with site.browser() as browser, site.browser() as other:
            browser.timeout = httpx.Timeout(60)
            browser.log_in()
            other.log_in()
            with fault(server):
                for answer in crowd(site, browser):  # these notice; some stand in line just then
                    assert_is_away(answer, TURNS * SECONDS + 2)
                for answer in crowd(site, browser):
                    assert_is_away(answer, seconds)
                assert_is_away(browser.get("/dashboard/"), min(seconds, SECONDS + 2))
                assert browser.get("/healthz").status_code == 200
            answer = browser.get("/dashboard/")
            assert answer.status_code == 200
            assert answer.elapsed.total_seconds() < 1
            assert {answer.status_code for answer in crowd(site, other)} == {200}
            assert other.log_out().status_code == 302
            assert not other.logged_in
            assert other.log_in().status_code == 302

    def test_postgresql_restarted_while_nobody_asked(server: Postgres, site: Site) -> None:
        with site.browser() as browser:
            browser.log_in()
            crowd(site, browser)  # fills the pools of both workers
            server.stop()
            server.start()
            assert {answer.status_code for answer in crowd(site, browser)} == {200}

    def test_a_crowd_on_postgresql_is_no_outage(site: Site) -> None:
        """Forty threads, ten connections, each in use for long: the last wait and are served."""
        site.manage(
            "shell", "-c",
            "from concurrent.futures import ThreadPoolExecutor\n"
            "from django.db import connection\n"
            "def ask(number):\n"
            "    with connection.cursor() as cursor: cursor.execute('SELECT pg_sleep(1.5)')\n"
            "    connection.close()\n"
            "with ThreadPoolExecutor(40) as pool: list(pool.map(ask, range(40)))",
        )  # fmt: skip
