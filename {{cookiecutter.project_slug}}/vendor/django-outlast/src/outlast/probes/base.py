"""A question to a service, what may come of it, and asking many at the same time."""

import copy
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.utils import load_backend

from outlast.advice import explain

FRESH_SECONDS = 1.0  # for so long one answer serves everybody who asks this process
CONNECT_SECONDS = 2  # for PostgreSQL, whose library waits no shorter


class State(StrEnum):
    """What a probe finds; `SKIPPED` where the service that it needs is down."""

    OK = "ok"
    WARNING = "warning"
    DOWN = "down"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Finding:
    """What was found, as a sentence or as figures with their units, and what mends it.

    `remedies`: what to do now, one way a line, the shortest first; empty if all is well.
    """

    state: State
    text: str
    remedies: tuple[str, ...] = ()


def fine(text: str) -> Finding:
    return Finding(State.OK, text)


def warning(text: str, *remedies: str) -> Finding:
    return Finding(State.WARNING, text, remedies)


def down(text: str, *remedies: str) -> Finding:
    return Finding(State.DOWN, text, remedies)


@dataclass(frozen=True)
class Probe:
    """One question. `ask` returns a finding, or raises what `explain` puts into words.

    `required`: whether people cannot log in without it, which is what `/readyz` decides by.
    `needs`: the service without which there is no point in asking.
    """

    name: str
    ask: Callable[[], Finding]
    required: bool = False
    needs: str = ""


@dataclass(frozen=True)
class Result:
    """What came of asking, and how long it took."""

    probe: Probe
    finding: Finding
    milliseconds: float

    @property
    def name(self) -> str:
        return self.probe.name

    @property
    def state(self) -> State:
        return self.finding.state


def ask(probes: Iterable[Probe], seconds: float) -> list[Result]:
    """Ask all at the same time; who has not answered after `seconds` is down.

    A question that is still open, or was asked within `FRESH_SECONDS`, is not asked a second
    time: a crowd at `/readyz` makes one question, and a hung service holds one thread.
    """
    asked = [(probe, _question(probe)) for probe in probes]
    wait([future for _, future in asked], timeout=seconds)
    silent = down(f"No answer within {seconds:g} s: it hangs, or is overloaded.")
    return [
        future.result() if future.done() else Result(probe, silent, seconds * 1000)
        for probe, future in asked
    ]


_questions: dict[str, tuple[float, "Future[Result]"]] = {}
_lock = threading.Lock()


def _question(probe: Probe) -> "Future[Result]":
    """Return the probe's open or fresh question; a new one where there is none."""
    with _lock:
        now = time.monotonic()
        asked_at, future = _questions.get(probe.name, (0.0, None))
        if future is None or (future.done() and now - asked_at > FRESH_SECONDS):
            future = Future()
            _questions[probe.name] = now, future
            # A daemon: a hung service must not keep the process from ending.
            threading.Thread(target=_answer, args=(probe, future), daemon=True).start()
        return future


def _answer(probe: Probe, future: "Future[Result]") -> None:
    started = time.perf_counter()
    try:
        with own_database_connection():
            finding = probe.ask()
    except Exception as error:
        finding = down(*explain(error))
    future.set_result(Result(probe, finding, round((time.perf_counter() - started) * 1000, 1)))


@contextmanager
def own_database_connection() -> Iterator[None]:
    """Give this thread a new database connection, which waits less long for the server."""
    settings = copy.deepcopy(connections.settings[DEFAULT_DB_ALIAS])
    if settings["ENGINE"].endswith("postgresql"):
        settings["OPTIONS"]["connect_timeout"] = CONNECT_SECONDS
    connection = load_backend(settings["ENGINE"]).DatabaseWrapper(settings, DEFAULT_DB_ALIAS)
    connections[DEFAULT_DB_ALIAS] = connection
    try:
        yield
    finally:
        connection.close()
