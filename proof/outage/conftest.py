"""A site for the faults, and the table at the end."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proof.conftest import servers
from proof.outage.failovers import FAULTS
from proof.outage.outage import KINDS, PASSWORD, Outage
from proof.outage.report import add_to, results
from proof.outage.run import EMAILS
from proof.site import PASSWORD as LOGIN_PASSWORD
from proof.site import Site

OVERLAY = Path(__file__).parent / "overlay"
ROWS = pytest.StashKey[list[dict[str, Any]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--json",
        metavar="PATH",
        default=os.environ.get("OUTAGE_JSON"),
        help="add the results to a file (default: OUTAGE_JSON)",
    )
    parser.addoption("--every-kind", action="store_true", help="each fault on Valkey and Redis")
    parser.addoption("--stock", action="store_true", help="use Django's own engines, which fail")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep each fault for one kind of server, the kinds in turn, unless all are asked for."""
    if config.getoption("--every-kind") or config.getoption("--stock"):
        return
    kept, left_out = [], []
    for item in items:
        parameters: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
        if isinstance(place := parameters.get("outage"), tuple):
            number = FAULTS[place[0]].index(parameters["fault"])
            if place[1] != KINDS[number % len(KINDS)]:
                left_out.append(item)
                continue
        kept.append(item)
    config.hook.pytest_deselected(items=left_out)
    items[:] = kept


@pytest.fixture(scope="module")
def outage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Outage]:
    """A site with two workers, strict, on its servers; the parameter says on which.

    That is a profile, a kind of server, and the name of a session engine of Django's or "".
    """
    profile, kind, stock = request.param
    request.config.stash.setdefault(ROWS, [])
    with servers(profile, kind=kind, password=PASSWORD) as topology:
        outage = Outage(topology, {"profile": profile, "kind": kind, "sessions": stock or "ours"})
        variables = topology.environment() | {"DJANGO_SETTINGS_MODULE": "outage.settings"}
        if stock:
            variables["STOCK"] = stock
        if url := variables.get("REDIS_URL"):
            variables["REDIS_URL"] = url.removesuffix("/0") + f"/{outage.database}"
        site = Site(tmp_path_factory.mktemp("site"), profile, variables, overlay=OVERLAY)
        site.manage(
            "shell", "-c",
            "from accounts.models import User\n"
            f"for email in {EMAILS}: User.objects.create_user(email, {LOGIN_PASSWORD!r})",
        )  # fmt: skip
        with site.running(workers=2) as outage.site:
            yield outage


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if rows := config.stash.get(ROWS, []):
        terminalreporter.section("Redis outages")
        terminalreporter.write_line(results(rows))
        if path := config.getoption("--json"):
            add_to(Path(path), rows)
