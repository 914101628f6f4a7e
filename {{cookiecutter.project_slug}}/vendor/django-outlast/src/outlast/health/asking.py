"""Run several health checks at the same time, each for a limited time."""

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from enum import StrEnum

from django.db import connections

from outlast.health.errors import explain

FRESH_SECONDS = 1.0  # an answer is used again for so long


class State(StrEnum):
    """The result of a probe; SKIPPED if the service that it needs is down."""

    DOWN = "down"
    WARNING = "warning"
    SKIPPED = "skipped"
    OK = "ok"


@dataclass(frozen=True)
class Finding:
    """The result of a probe as a sentence, and remedies of one line each. `ask` adds the rest.

    `required`: people cannot log in without this service, so `/readyz` depends on it.
    """

    state: State
    text: str
    remedies: tuple[str, ...] = ()
    name: str = ""
    required: bool = False
    milliseconds: float = 0


def ok(text: str) -> Finding:
    return Finding(State.OK, text)


def warning(text: str, *remedies: str) -> Finding:
    return Finding(State.WARNING, text, remedies)


def down(text: str, *remedies: str) -> Finding:
    return Finding(State.DOWN, text, remedies)


@dataclass(frozen=True)
class Probe:
    """One health check. `ask` returns a finding, or raises an error for `explain`.

    `needs`: the service without which the check is skipped.
    """

    name: str
    ask: Callable[[], Finding]
    required: bool = False
    needs: str = ""

    def result(self, finding: Finding, seconds: float = 0) -> Finding:
        milliseconds = round(seconds * 1000, 1)
        return replace(finding, name=self.name, required=self.required, milliseconds=milliseconds)


def ask(probes: Iterable[Probe], seconds: float) -> list[Finding]:
    """Run all probes at the same time; one without a result after `seconds` is down.

    A probe that is running, or has a result of the last FRESH_SECONDS, is not run again: many
    requests to `/readyz` run it once, and a service that hangs occupies one thread.
    """
    asked = [(probe, *_question(probe)) for probe in probes]
    deadline = max((at for _, at, _ in asked), default=0) + seconds
    wait([future for *_, future in asked], timeout=max(0, deadline - time.monotonic()))
    silent = down(f"No answer within {seconds:g} s: it hangs, or is overloaded.")
    return [
        future.result() if future.done() else probe.result(silent, seconds)
        for probe, _, future in asked
    ]


_questions: dict[str, tuple[float, "Future[Finding]"]] = {}
_lock = threading.Lock()


def _question(probe: Probe) -> tuple[float, "Future[Finding]"]:
    """Return when the probe was started, and its result; start it if that is not recent."""
    with _lock:
        now = time.monotonic()
        asked_at, future = _questions.get(probe.name, (0.0, None))
        if future is None or (future.done() and now - asked_at > FRESH_SECONDS):
            asked_at, future = _questions[probe.name] = now, Future()
            # A daemon thread: a service that hangs must not keep the process from exiting.
            threading.Thread(target=_answer, args=(probe, future), daemon=True).start()
        return asked_at, future


def _answer(probe: Probe, future: "Future[Finding]") -> None:
    started = time.perf_counter()
    # There must always be a result: a probe that is running is not started again.
    finding = down("The check failed unexpectedly.")
    try:
        try:
            finding = probe.ask()
        except Exception as error:
            finding = down(*explain(error))
        connections.close_all()  # those of this thread
    finally:
        future.set_result(probe.result(finding, time.perf_counter() - started))
