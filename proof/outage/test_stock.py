"""The same faults with Django's own sessions and cache: the proof can fail."""

from collections.abc import Callable

import pytest

from proof.outage.faults import FAULTS, Fault
from proof.outage.outage import KINDS, Outage
from proof.outage.recorder import slowest_allowed
from proof.outage.run import Result, run_fault

ENGINES = ["cache", "cached_db"]
# An empty Redis is what `cached_db` was made for; it fails only requests in flight. (That Redis
# hangs for 5 seconds fails hardly any request either, but everybody waits as long.)
WELL = {("cached_db", "flushall"), ("cached_db", "restarted-empty")}


@pytest.mark.parametrize("fault", FAULTS["redis"], ids=str)
@pytest.mark.parametrize(
    "outage", [("redis", KINDS[0], engine) for engine in ENGINES], ids=ENGINES, indirect=True
)
def test_stock_fails(outage: Outage, fault: Fault, record: Callable[[Result], None]) -> None:
    result = run_fault(outage, fault, time_limit=3)
    record(result)
    waited = result.latency["fault"]["max"] > slowest_allowed(result.latency)
    assert result.failures or waited or (outage.names["sessions"], fault.name) in WELL, (
        "Django's own engines are known to fail here, and did not."
    )
