"""Ask several services at the same time, each for a limited time."""

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
    """What a probe found, in words, and remedies of one line each. `ask` adds the rest.

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
    """One question. `ask` returns a finding, or raises an error for `explain`.

    `needs`: the service without which the question is skipped.
    """

    name: str
    ask: Callable[[], Finding]
    required: bool = False
    needs: str = ""

    def result(self, finding: Finding, seconds: float = 0) -> Finding:
        milliseconds = round(seconds * 1000, 1)
        return replace(finding, name=self.name, required=self.required, milliseconds=milliseconds)


def ask(probes: Iterable[Probe], seconds: float) -> list[Finding]:
    """Ask all probes at the same time; one without an answer after `seconds` is down.

    A question that is open, or was answered within FRESH_SECONDS, is not asked again: many
    requests to `/readyz` make one question, and a service that hangs occupies one thread.
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
    """Return when the probe was asked and its answer; ask it if there is no fresh question."""
    with _lock:
        now = time.monotonic()
        asked_at, future = _questions.get(probe.name, (0.0, None))
        if future is None or (future.done() and now - asked_at > FRESH_SECONDS):
            asked_at, future = _questions[probe.name] = now, Future()
            # A daemon: a service that hangs must not keep the process from ending.
            threading.Thread(target=_answer, args=(probe, future), daemon=True).start()
        return asked_at, future


def _answer(probe: Probe, future: "Future[Finding]") -> None:
    started = time.perf_counter()
    # The answer must come, whatever fails: an open question is never asked again.
    finding = down("The check failed in an unexpected way.")
    try:
        try:
            finding = probe.ask()
        except Exception as error:
            finding = down(*explain(error))
        connections.close_all()  # those of this thread
    finally:
        future.set_result(probe.result(finding, time.perf_counter() - started))
