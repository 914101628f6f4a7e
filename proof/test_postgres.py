"""PostgreSQL stopped, hung and exhausted: the doctor, /readyz, and the errors that are listed."""

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest

from proof.postgres import Postgres, find_postgres
from proof.site import Site


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    if not find_postgres():
        pytest.skip("NOT PROVED: this machine has no PostgreSQL (apt install postgresql)")
    with Postgres() as server:
        yield server


@pytest.fixture(scope="module")
def site(server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("drill"), "database", {"DATABASE_URL": server.url()})


def listed(site: Site, heading: str) -> str:
    """Return the error text that docs/troubleshooting.md lists under a heading."""
    page = (site.folder / "docs" / "troubleshooting.md").read_text("utf-8")
    section = page.partition("\n## Database\n")[2]
    return section.partition(f"### {heading}\n\n```\n")[2].partition("\n```")[0]


def examine(site: Site) -> str:
    started = time.monotonic()
    done = site.run("doctor")
    assert time.monotonic() - started < 20
    return done.stdout


def wait_for(site: Site, status: int) -> dict[str, Any]:
    """Wait until `/readyz` answers with `status`, and return what it says of the database."""
    deadline = time.monotonic() + 20
    with site.browser() as browser:
        while (answer := browser.get("/readyz")).status_code != status:
            assert time.monotonic() < deadline, f"/readyz never says {status}"
            time.sleep(0.3)
    return dict(answer.json()["backends"]["database"])


def test_doctor_and_readiness_without_postgresql(site: Site, server: Postgres) -> None:
    assert "All " in examine(site)
    with site.running():
        assert wait_for(site, 200)["state"] == "ok"
        server.pause()
        assert wait_for(site, 503)["state"] == "down"
        said = examine(site)
        assert "DOWN  database" in said and "did not answer in time" in said
        server.resume()
        assert wait_for(site, 200)["state"] == "ok"
        server.stop()
        assert wait_for(site, 503)["state"] == "down"
        assert "DOWN  database" in (said := examine(site))
        assert f"Nothing listens at 127.0.0.1:{server.port}/postgres: PostgreSQL is not" in said
        server.start()
        assert wait_for(site, 200)["state"] == "ok"


def test_exhausted_connections_are_reported(site: Site, server: Postgres) -> None:
    with site.running(), site.browser() as ada, ExitStack() as stack:
        wait_for(site, 200)
        ada.log_in()
        with pytest.raises(psycopg.OperationalError, match="too many clients"):
            for _ in range(101):  # max_connections is 100
                stack.enter_context(psycopg.connect(server.url()))
        wait_for(site, 503)
        said = examine(site)
        assert "DOWN  database " in said and "has no connections left" in said
        assert ada.get("/dashboard/").status_code == 200, "pages keep their connections"
        stack.pop_all().close()
        wait_for(site, 200)
        assert "of 97 connections" in examine(site)


def test_the_errors_that_are_listed(site: Site, server: Postgres) -> None:
    url = server.url()
    nowhere, nothing = server.url(port=1), f"{url.rpartition('/')[0]}/none"
    hba = server.folder / "data" / "pg_hba.conf"
    hba.write_text(f"host all guest 127.0.0.1/32 scram-sha-256\n{hba.read_text()}", "utf-8")
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute("CREATE ROLE guest LOGIN PASSWORD 'right'")
        admin.execute("SELECT pg_reload_conf()")
    guest = url.replace("site@", "guest:wr0ng@")
    for heading, address, words in (
        (
            "connection to server failed: Connection refused",
            nowhere,
            "Nothing listens at 127.0.0.1:1/postgres",
        ),
        ("password authentication failed", guest, "refuses the user name or the password"),
        ("database does not exist", nothing, "The server has no database of the name in"),
    ):
        with pytest.raises(psycopg.OperationalError) as error:
            psycopg.connect(address)
        assert plain(listed(site, heading).splitlines()[0]) in plain(str(error.value))
        said = told(site, address)
        assert words in said
        assert "wr0ng" not in said
    with ExitStack() as stack, pytest.raises(psycopg.OperationalError) as error:
        for _ in range(101):  # max_connections is 100
            stack.enter_context(psycopg.connect(url))
    assert plain(listed(site, "too many clients already").splitlines()[0]) in plain(
        str(error.value)
    )
    limited = psycopg.connect(f"{url}?options=-c%20statement_timeout%3D1")
    with limited, pytest.raises(psycopg.errors.QueryCanceled) as canceled:
        limited.execute("SELECT pg_sleep(1)")
    assert listed(site, "canceling statement due to statement timeout") in str(canceled.value)


def plain(text: str) -> str:
    """Leave out what differs: numbers and names."""
    return re.sub(r"\d+", "N", re.sub(r'(user|database) "\w+"', r"\1 NAME", text))


def told(site: Site, url: str) -> str:
    """Return what the doctor says of another address."""
    site.variables["DATABASE_URL"], before = url, site.variables["DATABASE_URL"]
    try:
        return examine(site)
    finally:
        site.variables["DATABASE_URL"] = before
