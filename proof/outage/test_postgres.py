"""PostgreSQL stopped, hung, exhausted, slow or pooled while two workers serve a site."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from statistics import median
from threading import Event

import psycopg
import pytest

from proof.outage.database import CROWD, PATIENCE, assert_is_away
from proof.page import Page, opened
from proof.pgbouncer import PgBouncer, find_pgbouncer
from proof.postgres import Postgres
from proof.site import Browser, Site, wait_for

WORKERS, THREADS = 2, 8  # threads of a worker
VIEWS = """
import threading
from django.db import connection
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

def cursors(request):
    return HttpResponse(str(len(list(User.objects.iterator()))))

urlpatterns += [path(f"{view.__name__}/", view) for view in (background, slow, cursors)]
"""


@pytest.fixture(scope="module")
def site(server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder, variables = tmp_path_factory.mktemp("site"), {"DATABASE_URL": server.url()}
    site = Site(folder, "database", variables, added={"config/urls.py": VIEWS})
    with site.running(WORKERS):
        yield site


@contextmanager
def restarted(site: Site, **variables: str) -> Iterator[None]:
    """Serve the site with other variables, and afterwards as before."""
    before = site.variables
    site.stop()
    site.variables = before | variables
    try:
        site.start(WORKERS)
        yield
    finally:
        site.stop()
        site.variables = before
        site.start(WORKERS)


@pytest.fixture
def browser(site: Site) -> Iterator[Browser]:
    with site.browser(timeout=PATIENCE) as browser:
        assert browser.log_in().status_code == 302
        yield browser


@contextmanager
def open_pages(site: Site, browser: Browser) -> Iterator[list[Page]]:
    """Pages at both workers, which must receive an event when the block ends."""
    with ExitStack() as stack:
        pages = [stack.enter_context(opened(site, browser)) for _ in range(10)]
        for page in pages:
            page.next_event("heartbeat", 5)
        yield pages
        with site.browser() as other:
            assert other.log_in().status_code == 302
        for page in pages:
            page.next_event("signed_in")


def crowd(browser: Browser, path: str = "/dashboard/", size: int = CROWD) -> set[int]:
    """Return the statuses of many requests of one session at the same time."""
    with ThreadPoolExecutor(size) as pool:
        return {answer.status_code for answer in pool.map(browser.get, [path] * size)}


def wait_for_status(browser: Browser, status: int) -> None:
    wait_for(lambda: browser.get("/readyz").status_code == status, f"a {status} of /readyz")


def examine(site: Site) -> str:
    """Return what the doctor says, in bounded time."""
    started = time.monotonic()
    said = site.run("doctor").stdout
    assert time.monotonic() - started < 20
    return said


def connections(server: Postgres) -> int:
    query = "SELECT count(*) - 1 FROM pg_stat_activity WHERE backend_type = 'client backend'"
    with psycopg.connect(server.url()) as admin:
        (number,) = admin.execute(query).fetchone() or (0,)
    return int(number)


def test_stopped(server: Postgres, site: Site, browser: Browser) -> None:
    assert "All " in examine(site)
    with open_pages(site, browser):
        server.stop()
        assert crowd(browser) == {503}
        assert_is_away(browser.get("/dashboard/"), 2)
        assert browser.get("/healthz").status_code == 200
        wait_for_status(browser, 503)
        assert "DOWN  database" in (said := examine(site))
        assert f"Nothing listens at 127.0.0.1:{server.port}/postgres: PostgreSQL is not" in said
        server.start()
        assert crowd(browser) == {200}
        server.stop()  # and back before a page is asked for
        server.start()
        assert crowd(browser) == {200}
        time.sleep(2)
    wait_for_status(browser, 200)


def test_restarted_under_load(server: Postgres, browser: Browser) -> None:
    """Two seconds after PostgreSQL is back there are no errors any more."""
    over = Event()
    answers: list[tuple[float, int]] = []

    def ask() -> None:
        while not over.is_set():
            answers.append((time.monotonic(), browser.get("/dashboard/").status_code))

    with ThreadPoolExecutor(8) as pool:
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


def test_frozen(server: Postgres, site: Site, browser: Browser) -> None:
    """Pages wait for the server; health checks do not wait for pages."""
    crowd(browser)
    with open_pages(site, browser), ThreadPoolExecutor(1) as pool:
        server.pause()
        waiting = pool.submit(crowd, browser)
        time.sleep(1)
        alive = [browser.get("/healthz") for _ in range(5)]
        ready = browser.get("/readyz")
        said = examine(site)
        is_waiting = not waiting.done()
        server.resume()
        assert {answer.status_code for answer in alive} == {200}
        assert median(answer.elapsed.total_seconds() for answer in alive) < 0.05
        assert (ready.status_code, ready.json()["ready"]) == (503, False)
        assert ready.elapsed.total_seconds() < 5
        assert "DOWN  database" in said and "did not answer in time" in said
        assert is_waiting
        assert waiting.result() == {200}
        assert browser.get("/dashboard/").elapsed.total_seconds() < 1
        time.sleep(2)
    wait_for_status(browser, 200)


def test_connections(server: Postgres, browser: Browser) -> None:
    """There are as many as threads, and threads that end give theirs back."""
    most = WORKERS * (THREADS + 2)
    assert crowd(browser, size=100) == {200}
    assert 1 <= connections(server) <= most
    for _ in range(12):
        assert browser.get("/background/").text == "ok"
    assert crowd(browser, "/background/") == {200}

    def are_few() -> bool:  # the garbage collector closes those of threads
        return crowd(browser) == {200} and connections(server) <= most

    wait_for(are_few, f"at most {most} connections")


def test_no_connections_are_left(server: Postgres, site: Site, browser: Browser) -> None:
    with ExitStack() as stack:
        with pytest.raises(psycopg.OperationalError, match="too many clients"):
            for _ in range(101):  # max_connections is 100
                stack.enter_context(psycopg.connect(server.url()))
        wait_for_status(browser, 503)
        said = examine(site)
        assert "DOWN  database " in said and "has no connections left" in said
        assert browser.get("/dashboard/").status_code == 200, "pages keep their connections"
    wait_for_status(browser, 200)
    assert "of 97 connections" in examine(site)


def test_a_slow_statement(site: Site, browser: Browser) -> None:
    """It takes as long as it takes, unless there is a limit: then PostgreSQL ends it."""
    assert browser.get("/slow/").text == "slept"
    with restarted(site, DATABASE_STATEMENT_SECONDS="1"):
        answer = browser.get("/slow/")
        assert answer.status_code == 500, "it is no outage"
        assert 1 <= answer.elapsed.total_seconds() < 3
    assert "due to statement timeout" in (site.folder / "var" / "server.log").read_text()


@pytest.mark.skipif(not find_pgbouncer(), reason="PgBouncer is not on this machine")
def test_pgbouncer_in_transaction_mode(server: Postgres, site: Site, browser: Browser) -> None:
    """Pages reach the database through it, messages by DATABASE_LISTEN_URL."""
    with (
        PgBouncer(server.port) as bouncer,
        restarted(site, DATABASE_URL=bouncer.url(), DATABASE_LISTEN_URL=server.url()),
        open_pages(site, browser),
    ):
        site.manage("migrate")
        assert crowd(browser, "/cursors/") == {200}
        assert browser.get("/admin/accounts/user/add/").status_code == 200


def test_refused(site: Site, server: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    hba, url = server.folder / "data" / "pg_hba.conf", server.url()
    hba.write_text(f"host all guest 127.0.0.1/32 scram-sha-256\n{hba.read_text()}", "utf-8")
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute("SELECT pg_reload_conf()")
    for address, words in (
        (url.replace("site@", "guest:wr0ng@"), "refuses the username or the password"),
        (f"{url.rpartition('/')[0]}/none", "The server has no database of the name in"),
    ):
        monkeypatch.setitem(site.variables, "DATABASE_URL", address)
        assert words in (said := examine(site))
        assert "wr0ng" not in said
