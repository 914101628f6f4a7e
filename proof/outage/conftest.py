"""A site for the faults, and the table at the end."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.report import table
from proof.conftest import servers
from proof.outage.outage import PASSWORD, Outage
from proof.outage.run import EMAILS
from proof.site import Site

OVERLAY = Path(__file__).parent / "overlay"
ROWS: list[dict[str, str]] = []  # of the table at the end


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--every-kind", action="store_true", help="each fault on Valkey and Redis")


@pytest.fixture(scope="module")
def outage(
    profile: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Outage]:
    """A site with two workers, strict, on its servers; the parameter is their kind."""
    with servers(profile, kind=request.param, password=PASSWORD) as topology:
        outage = Outage(topology, profile, request.param)
        variables = topology.environment() | {"DJANGO_SETTINGS_MODULE": "outage.settings"}
        if url := variables.get("REDIS_URL"):
            variables["REDIS_URL"] = url.removesuffix("/0") + f"/{outage.database}"
        site = Site(tmp_path_factory.mktemp("site"), profile, variables, overlay=OVERLAY)
        site.create_users(*EMAILS)
        with site.running(workers=2) as outage.site:
            yield outage


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if ROWS:
        terminalreporter.section("Redis outages")
        terminalreporter.write_line(table(list(ROWS[0]), [list(row.values()) for row in ROWS]))
