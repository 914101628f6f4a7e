"""Redis fails while users work with a site: no user notices.

Each fault once, on Valkey and on Redis in turn; `--every-kind`: each on both.
"""

import pytest

from proof.outage.conftest import ROWS
from proof.outage.failovers import FAULTS
from proof.outage.faults import Fault
from proof.outage.outage import KINDS, Outage
from proof.outage.run import run_fault


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    option = metafunc.config.getoption
    runs = [
        pytest.param(kind, fault, id=f"{kind}-{fault.name}")
        for kind in KINDS
        for number, fault in enumerate(FAULTS[option("--profile")])
        if option("--every-kind") or kind == KINDS[number % len(KINDS)]
    ]
    metafunc.parametrize(("outage", "fault"), runs, indirect=["outage"])


def test_outage(outage: Outage, fault: Fault) -> None:
    result = run_fault(outage, fault)
    ROWS.append({"fault": fault.title, "on": outage.place} | result.row())
    assert not result.verdict(), "\n".join(result.verdict())
