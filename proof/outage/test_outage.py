"""Faults in Redis under a site in use: no user notices.

Each fault once, on Valkey and on Redis in turn; `--every-kind`: each on both (conftest.py).
`--stock`: the same faults with Django's own sessions and cache, to see that the proof can fail.
"""

from collections.abc import Callable

import pytest

from proof.outage.failovers import FAULTS, Fault
from proof.outage.outage import KINDS, Outage
from proof.outage.recorder import slowest_allowed
from proof.outage.run import Result, run_fault

ENGINES = ["cache", "cached_db"]
# An empty Redis is what `cached_db` was made for; it fails only requests in flight. (That Redis
# hangs for 5 seconds fails hardly any request either, but everybody waits as long.)
WELL = {("cached_db", "flushall"), ("cached_db", "restarted-empty")}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    profile = metafunc.config.getoption("--profile")
    sites = {kind: (profile, kind, "") for kind in KINDS}
    if metafunc.config.getoption("--stock"):
        sites = {engine: (profile, KINDS[0], engine) for engine in ENGINES}
    metafunc.parametrize("outage", sites.values(), ids=sites, indirect=True)
    metafunc.parametrize("fault", FAULTS.get(profile, []), ids=str)


def test_outage(outage: Outage, fault: Fault, record: Callable[[Result], None]) -> None:
    engine = outage.names["sessions"]
    if engine == "ours":
        result = run_fault(outage, fault)
        record(result)
        assert not result.verdict(), "\n".join(result.verdict())
        return
    result = run_fault(outage, fault, time_limit=3)
    record(result)
    waited = result.latency["fault"]["max"] > slowest_allowed(result.latency)
    assert result.failures or waited or (engine, fault.name) in WELL, (
        "Django's own engines are known to fail here, and did not."
    )
