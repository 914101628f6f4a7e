"""A site for the faults, and the table at the end."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from proof.conftest import servers
from proof.outage.failovers import FAULTS, Fault
from proof.outage.outage import DATABASES, KINDS, PASSWORD, Outage
from proof.outage.report import add_to, table
from proof.outage.run import USERS, Result, email
from proof.site import PASSWORD as LOGIN_PASSWORD
from proof.site import Site

OVERLAY = Path(__file__).parent / "overlay"
CELLS = pytest.StashKey[list[dict[str, Any]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--json", metavar="PATH", help="add the results to a file")
    parser.addoption("--every-kind", action="store_true", help="each fault on Valkey and Redis")
    parser.addoption("--stock", action="store_true", help="see Django's own engines fail")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep each fault for one kind of server, the kinds in turn, unless all are asked for."""
    if not config.getoption("--every-kind"):
        left_out = [item for item in items if is_of_another_kind(item)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def is_of_another_kind(item: pytest.Item) -> bool:
    """Whether a test is a cell of ours, whose fault is thrown at another kind of server."""
    cell: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
    if "outage" not in cell:
        return False
    profile, kind, stock = cell["outage"]
    number = FAULTS[profile].index(cell["fault"])
    return not stock and kind != KINDS[number % len(KINDS)]


@pytest.fixture(scope="module")
def outage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Outage]:
    """A site with two workers, strict, on its servers; the parameter says on which.

    That is a profile, a kind of server, and the name of a session engine of Django's or "".
    """
    profile, kind, stock = request.param
    with servers(profile, kind=kind, password=PASSWORD) as topology:
        variables = topology.environment() | {"DJANGO_SETTINGS_MODULE": "outage.settings"}
        if stock:
            variables["STOCK"] = stock
        if url := variables.get("REDIS_URL"):
            variables["REDIS_URL"] = url.removesuffix("/0") + f"/{DATABASES[profile]}"
        site = Site(tmp_path_factory.mktemp("site"), profile, variables, overlay=OVERLAY)
        users = [email(number) for number in range(USERS + 2)]
        site.manage(
            "shell", "-c",
            "from accounts.models import User\n"
            f"for email in {users}: User.objects.create_user(email, {LOGIN_PASSWORD!r})",
        )  # fmt: skip
        with site.running(workers=2):
            names = {"profile": profile, "kind": kind, "sessions": stock or "ours"}
            yield Outage(site, topology, names)


@pytest.fixture
def record(
    request: pytest.FixtureRequest, outage: Outage, fault: Fault
) -> Callable[[Result], None]:
    """Return a function that puts a cell's result into the table."""
    cells = request.config.stash.setdefault(CELLS, [])

    def record(result: Result) -> None:
        wrong = result.verdict()
        cells.append({"fault": fault.title, **outage.names, **result.as_dict(), "wrong": wrong})

    return record


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if cells := config.stash.get(CELLS, []):
        terminalreporter.section("Redis outages")
        terminalreporter.write_line(table(cells))
        if path := config.getoption("--json"):
            add_to(Path(path), cells)
