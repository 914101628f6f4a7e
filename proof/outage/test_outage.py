"""Faults in Redis, thrown at a site that people use all the time: nobody notices.

Each fault once, on Valkey and on Redis in turn; `--every-kind`: each on both (conftest.py).
"""

from collections.abc import Callable

import pytest

from proof.outage.cell import Result, play
from proof.outage.faults import FAULTS, Fault
from proof.outage.scene import KINDS, Scene

Record = Callable[[Result], None]


@pytest.mark.parametrize("fault", FAULTS["redis"], ids=str)
@pytest.mark.parametrize(
    "scene", [("redis", kind, "") for kind in KINDS], ids=KINDS, indirect=True
)
def test_redis(scene: Scene, fault: Fault, record: Record) -> None:
    result = play(scene, fault)
    record(result)
    assert not result.verdict(), "\n".join(result.verdict())


@pytest.mark.parametrize("fault", FAULTS["redis-sentinel"], ids=str)
@pytest.mark.parametrize(
    "scene", [("redis-sentinel", kind, "") for kind in KINDS], ids=KINDS, indirect=True
)
def test_redis_sentinel(scene: Scene, fault: Fault, record: Record) -> None:
    result = play(scene, fault)
    record(result)
    assert not result.verdict(), "\n".join(result.verdict())
