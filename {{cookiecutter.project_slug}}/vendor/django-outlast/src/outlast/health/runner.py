"""Run several health checks at the same time, each for a limited time."""

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from enum import StrEnum

from django.db import connections

from outlast.health.errors import explain

FRESH_SECONDS = 1.0  # a result is used again for so long


class State(StrEnum):
    """The result of a probe; SKIPPED if the service that it needs is down."""

    DOWN = "down"
    WARNING = "warning"
    SKIPPED = "skipped"
    OK = "ok"


class Problem(Exception):  # noqa: N818
    """What a probe found wrong, as a sentence, and remedies of one line each."""

    state = State.DOWN

    def __init__(self, text: str, *remedies: str) -> None:
        super().__init__(text)
        self.remedies = remedies


class Concern(Problem):
    """A problem that does not keep the service from working."""

    state = State.WARNING


@dataclass(frozen=True)
class Probe:
    """One health check. `run` returns what it found; it raises Problem, or any other error.

    `needs`: the service without which the check is skipped.
    """

    name: str
    run: Callable[[], str]
    needs: str = ""


@dataclass(frozen=True)
class Finding:
    """The result of a probe."""

    name: str
    state: State
    text: str
    remedies: tuple[str, ...] = ()
    milliseconds: float = 0


def run_probes(probes: Iterable[Probe], seconds: float) -> list[Finding]:
    """Run all probes at the same time; one without a result after `seconds` is down.

    A probe that is running, or has a result of the last FRESH_SECONDS, is not run again: many
    requests to `/readyz` run it once, and a service that hangs occupies one thread.
    """
    running = [(probe, *_start(probe)) for probe in probes]
    deadline = max((at for _, at, _ in running), default=0) + seconds
    wait([future for *_, future in running], timeout=max(0, deadline - time.monotonic()))
    silent = State.DOWN, f"No answer within {seconds:g} s: it hangs, or is overloaded."
    return [
        future.result() if future.done()
        else Finding(probe.name, *silent, (), seconds * 1000)
        for probe, _, future in running
    ]  # fmt: skip


_runs: dict[str, tuple[float, "Future[Finding]"]] = {}
_lock = threading.Lock()


def _start(probe: Probe) -> tuple[float, "Future[Finding]"]:
    """Return when the probe was started, and its result; start it if that is not recent."""
    with _lock:
        now = time.monotonic()
        started_at, future = _runs.get(probe.name, (0.0, None))
        if future is None or (future.done() and now - started_at > FRESH_SECONDS):
            started_at, future = _runs[probe.name] = now, Future()
            # A daemon thread: a service that hangs must not keep the process from exiting.
            threading.Thread(target=_run, args=(probe, future), daemon=True).start()
        return started_at, future


def _run(probe: Probe, future: "Future[Finding]") -> None:
    started = time.perf_counter()
    # There must always be a result: a probe that is running is not started again.
    state, text, remedies = State.DOWN, "The check failed unexpectedly.", list[str]()
    try:
        try:
            text = probe.run()
            state = State.OK
        except Problem as problem:
            state, text, remedies = problem.state, str(problem), list(problem.remedies)
        except Exception as error:
            text, *remedies = explain(error)
        connections.close_all()  # those of this thread
    finally:
        taken = round((time.perf_counter() - started) * 1000, 1)
        future.set_result(Finding(probe.name, state, text, tuple(remedies), taken))
