"""What a process knows of an outage, with a clock that stands still until it is told to move."""

from types import SimpleNamespace

import pytest
from outlast.layer import outage as module
from outlast.layer.outage import BEAT, Outage

pytestmark = pytest.mark.any_redis


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    # Less than an outage lasts, as after the start of a machine: no other sum gives its length.
    clock = SimpleNamespace(now=1.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_while_redis_is_lost_one_caller_in_a_beat_may_ask(clock: SimpleNamespace) -> None:
    outage = Outage()
    assert outage.may_try("lost")
    outage.begins("lost", OSError())
    for _ in range(3):
        assert not outage.may_try("lost")
        clock.now += BEAT
        assert outage.may_try("lost")
    assert outage.may_try("well") and outage.may_try("well")
    outage.begins("lost", OSError())
    clock.now += BEAT / 2
    outage.ends("lost")
    assert outage.may_try("lost")


def test_the_first_loss_and_the_last_return_are_logged(
    clock: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    outage = Outage()
    for part in ("sending", "hearing", "closed meanwhile"):
        outage.begins(part, OSError(part))
        clock.now += 1.5
    outage.forget("closed meanwhile")
    outage.ends("sending")
    assert (outage.hits("sending"), outage.hits("hearing")) == (False, True)
    assert len(caplog.messages) == 1
    assert "(sending)" in caplog.messages[0]
    outage.ends("hearing")
    outage.ends("hearing")
    assert caplog.messages[1:] == ["Channel layer: whole again after 4.5 s."]
