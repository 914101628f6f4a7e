"""Redis fails while users work with a site: no user notices.

Each fault once, on Valkey and on Redis in turn; `--every-kind`: each on both (conftest.py).
`--stock`: the same faults with Django's own sessions and cache, to see that the proof can fail.
"""

import pytest

from proof.outage.conftest import ROWS
from proof.outage.failovers import FAULTS
from proof.outage.faults import Fault
from proof.outage.outage import KINDS, Outage
from proof.outage.run import TIME_LIMIT, run_fault

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
    metafunc.parametrize("fault", FAULTS[profile], ids=str)


def test_outage(outage: Outage, fault: Fault, request: pytest.FixtureRequest) -> None:
    engine = outage.names["sessions"]
    limit = TIME_LIMIT if engine == "ours" else 3
    result = run_fault(outage, fault, time_limit=limit)
    row = {"fault": fault.title, **outage.names, **result.as_dict()}
    request.config.stash[ROWS].append(row)
    if engine == "ours":
        assert not result.verdict(), "\n".join(result.verdict())
        return
    assert result.failures or result.too_long() or (engine, fault.name) in WELL, (
        "Django's own engines are known to fail here, and did not."
    )
