"""The same faults with Django's own sessions and cache: proof that the others can fail."""

from collections.abc import Callable

import pytest

from proof.outage.cell import Result, play
from proof.outage.faults import FAULTS, Fault
from proof.outage.ledger import slowest_allowed
from proof.outage.scene import KINDS, Scene

ENGINES = ["cache", "cached_db"]
# An empty Redis is what `cached_db` was made for; it fails only requests in flight. (That Redis
# hangs for 5 seconds fails hardly any request either, but everybody waits as long.)
WELL = {("cached_db", "flushall"), ("cached_db", "restarted-empty")}


@pytest.mark.parametrize("fault", FAULTS["redis"], ids=str)
@pytest.mark.parametrize(
    "scene", [("redis", KINDS[0], engine) for engine in ENGINES], ids=ENGINES, indirect=True
)
def test_stock_fails(scene: Scene, fault: Fault, record: Callable[[Result], None]) -> None:
    result = play(scene, fault, patience=3)
    record(result)
    waited = result.latency["fault"]["max"] > slowest_allowed(result.latency)
    assert result.failures or waited or (scene.names["sessions"], fault.name) in WELL, (
        "Django's own engines are known to fail here, and did not."
    )
