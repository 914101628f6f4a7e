"""PostgreSQL stopped, hung and exhausted: the doctor, /readyz, and what the server refuses."""

import time
from contextlib import ExitStack

import psycopg
import pytest

from proof.postgres import Postgres
from proof.site import Site, wait_for


@pytest.fixture(scope="module")
def site(server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("drill"), "database", {"DATABASE_URL": server.url()})


def examine(site: Site) -> str:
    started = time.monotonic()
    done = site.run("doctor")
    assert time.monotonic() - started < 20
    return done.stdout


def wait_for_status(site: Site, status: int) -> None:
    with site.browser() as browser:
        wait_for(lambda: browser.get("/readyz").status_code == status, f"a {status} of /readyz")


def test_doctor_and_readiness_without_postgresql(site: Site, server: Postgres) -> None:
    assert "All " in examine(site)
    with site.running():
        wait_for_status(site, 200)
        server.pause()
        wait_for_status(site, 503)
        said = examine(site)
        assert "DOWN  database" in said and "did not answer in time" in said
        server.resume()
        wait_for_status(site, 200)
        server.stop()
        wait_for_status(site, 503)
        assert "DOWN  database" in (said := examine(site))
        assert f"Nothing listens at 127.0.0.1:{server.port}/postgres: PostgreSQL is not" in said
        server.start()
        wait_for_status(site, 200)


def test_exhausted_connections_are_reported(site: Site, server: Postgres) -> None:
    with site.running(), site.browser() as ada, ExitStack() as stack:
        wait_for_status(site, 200)
        ada.log_in()
        with pytest.raises(psycopg.OperationalError, match="too many clients"):
            for _ in range(101):  # max_connections is 100
                stack.enter_context(psycopg.connect(server.url()))
        wait_for_status(site, 503)
        said = examine(site)
        assert "DOWN  database " in said and "has no connections left" in said
        assert ada.get("/dashboard/").status_code == 200, "pages keep their connections"
        stack.pop_all().close()
        wait_for_status(site, 200)
        assert "of 97 connections" in examine(site)


def test_what_the_server_refuses(site: Site, server: Postgres) -> None:
    url = server.url()
    hba = server.folder / "data" / "pg_hba.conf"
    hba.write_text(f"host all guest 127.0.0.1/32 scram-sha-256\n{hba.read_text()}", "utf-8")
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute("CREATE ROLE guest LOGIN PASSWORD 'right'")
        admin.execute("SELECT pg_reload_conf()")
    for address, words in (
        (url.replace("site@", "guest:wr0ng@"), "refuses the user name or the password"),
        (f"{url.rpartition('/')[0]}/none", "The server has no database of the name in"),
    ):
        site.variables["DATABASE_URL"] = address
        said = examine(site)
        assert words in said
        assert "wr0ng" not in said
    site.variables["DATABASE_URL"] = url
