"""Live events between two processes on PostgreSQL, on each profile without Redis."""

import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from proof.page import opened
from proof.pgbouncer import PgBouncer, find_pgbouncer
from proof.postgres import Postgres
from proof.site import Site, free_port

has_pgbouncer = pytest.mark.skipif(not find_pgbouncer(), reason="PgBouncer is not on this machine")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, server: Postgres) -> Site:
    """A site on PostgreSQL that is not running."""
    return Site(tmp_path_factory.mktemp("site"), "database", {"DATABASE_URL": server.url()})


@pytest.mark.parametrize(
    ("profile", "pooled"),
    [("file", False), ("dummy", False), pytest.param("database", True, marks=has_pgbouncer)],
)
def test_events_and_ends_cross_to_the_other_process(
    profile: str, pooled: bool, made: Site, server: Postgres
) -> None:
    """`pooled`: pages reach the database through PgBouncer, messages by DATABASE_LISTEN_URL."""
    with ExitStack() as stack:
        made.variables["DJANGO_PROFILE"] = profile
        if pooled:
            bouncer = stack.enter_context(PgBouncer(server.port))
            made.variables["DATABASE_URL"] = bouncer.url()
            made.variables["DATABASE_LISTEN_URL"] = server.url()
        site = stack.enter_context(made.running())
        port = free_port()
        stack.callback(site.stop, site.start(port=port))
        here, there = (stack.enter_context(site.browser()) for _ in range(2))
        assert {here.log_in().status_code, there.log_in().status_code} == {302}
        page = stack.enter_context(opened(site, port, here))
        page.next_event("heartbeat")
        there.log_out()
        page.next_event("signed_out")
        here.log_out()
        assert page.end() == 4401
        log = (site.folder / "var" / "server.log").read_text("utf-8")
        assert "Channel layer" not in log


def restart(server: Postgres) -> None:
    server.stop()
    server.start()


def freeze(server: Postgres) -> None:
    server.pause()
    time.sleep(5)
    server.resume()


@pytest.mark.parametrize("fault", [restart, freeze])
def test_sockets_outlive(fault: Callable[[Postgres], None], server: Postgres, made: Site) -> None:
    """Open pages at both workers receive events again two seconds after the fault."""
    made.variables.pop("DATABASE_LISTEN_URL", None)  # of the test with PgBouncer
    made.variables |= {"DJANGO_PROFILE": "database", "DATABASE_URL": server.url()}
    with made.running(workers=2), ExitStack() as stack:
        browser = stack.enter_context(made.browser())
        browser.log_in()
        pages = [stack.enter_context(opened(made, made.port, browser)) for _ in range(10)]
        for page in pages:
            page.next_event("heartbeat", 5)
        fault(server)
        time.sleep(2)
        with made.browser() as other:
            assert other.log_in().status_code == 302
        for page in pages:
            page.next_event("signed_in")
