"""Faults in Redis under a site in use: no user notices.

Each fault once, on Valkey and on Redis in turn; `--every-kind`: each on both (conftest.py).
"""

from collections.abc import Callable

import pytest

from proof.outage.faults import FAULTS, Fault
from proof.outage.outage import KINDS, Outage
from proof.outage.run import Result, run_fault

Record = Callable[[Result], None]


@pytest.mark.parametrize("fault", FAULTS["redis"], ids=str)
@pytest.mark.parametrize(
    "outage", [("redis", kind, "") for kind in KINDS], ids=KINDS, indirect=True
)
def test_redis(outage: Outage, fault: Fault, record: Record) -> None:
    result = run_fault(outage, fault)
    record(result)
    assert not result.verdict(), "\n".join(result.verdict())


@pytest.mark.parametrize("fault", FAULTS["redis-sentinel"], ids=str)
@pytest.mark.parametrize(
    "outage", [("redis-sentinel", kind, "") for kind in KINDS], ids=KINDS, indirect=True
)
def test_redis_sentinel(outage: Outage, fault: Fault, record: Record) -> None:
    result = run_fault(outage, fault)
    record(result)
    assert not result.verdict(), "\n".join(result.verdict())
