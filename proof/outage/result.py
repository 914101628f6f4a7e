"""What users did during a fault, what went wrong, how long it took, and the verdict."""

import statistics
import threading
import time
from collections import Counter, defaultdict
from typing import NamedTuple

# What must never happen, whatever Redis does.
FAILURES = {
    "errors": "errors",  # requests answered 5xx or not at all
    "refused": "logins refused",
    "logged_out": "logged out",
    "alive": "ended sessions alive",
    "lost": "writes lost",
}
NO_ANSWER = 599
ENOUGH = {
    "logins": 200,
    "requests": 2000,
    "replays": 20,  # of cookies whose sessions were ended
    "replays at the other worker": 20,
    "racing requests": 20,
}
ENOUGH_MEANWHILE = {f"{what} during the fault": 3 for what in ("writes", "logouts", "events")}
AFTERMATH = 3.0  # seconds that idle connections lead to the former primary after a failover
NOTICING = 1.0  # seconds in which some requests meet a fault that is not noticed yet
# The longest allowed waits in milliseconds, twice the goals for a quiet machine. NOISE times the
# usual wait of the run is added: a busy machine is not a failure.
NOISE, SLOWEST, P99, P50, SEND = 5, 2000.0, 600.0, 200.0, 300.0
CACHE_BACK = RECEIVED_AGAIN = 5000.0  # sockets check themselves after 16 s at the earliest


class Ended(NamedTuple):
    """A session that was ended: its key, and the worker that acknowledged the end."""

    key: str
    worker: str


class Result:
    """Filled by all threads; `phase` is "warming up", "usual", "fault" or "after".

    `back`: seconds after the fault until all workers used Redis again.
    `sockets`: see `Sockets.report`; empty for Django's engines.
    `seen`: what showed that the fault was active.
    """

    def __init__(self) -> None:
        self.phase = "warming up"
        self.over = threading.Event()
        self.did: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.details: list[str] = []
        self.ended: list[Ended] = []
        self.back = 0.0
        self.sockets: dict[str, float] = {}
        self.seen: list[str] = []
        self._since: dict[str, float] = {}
        self._seconds: dict[str, list[float]] = defaultdict(list)
        self._lock = threading.Lock()

    def enter(self, phase: str) -> None:
        """Begin a phase."""
        self._since[phase] = time.monotonic()
        self.phase = phase

    def since(self, phase: str) -> float:
        """Return the seconds since a phase began, 0 if it has not."""
        return time.monotonic() - self._since.get(phase, time.monotonic())

    def answered(self, phase: str, seconds: float) -> None:
        """Record a request that was sent in `phase` and has just been answered."""
        with self._lock:
            self.did["requests"] += 1
            if phase != "after" and self.phase in ("fault", "after"):
                phase = "fault"  # sent before the fault and answered in it or after it
            self._seconds[phase].append(seconds)
            if phase == "fault" and self.since("fault") - seconds > NOTICING:
                self._seconds["noticed"].append(seconds)

    def count(self, what: str) -> None:
        """Count an action, and whether it happened during the fault or AFTERMATH."""
        with self._lock:
            self.did[what] += 1
            if self.phase == "fault" or 0 < self.since("fault") < AFTERMATH:
                self.did[f"{what} during the fault"] += 1

    def fail(self, what: str, detail: str) -> None:
        """Count one of FAILURES and keep the first details."""
        with self._lock:
            self.failures[what] += 1
            if self.failures[what] <= 5:
                when = f"{self.phase} +{self.since(self.phase):.1f} s"
                self.details.append(f"{when}, {FAILURES[what]}: {detail}")

    def row(self) -> dict[str, str]:
        """Return the columns of the table in docs/outage.md."""
        latency, sockets = self.latency(), ""
        usual, during = (
            " / ".join(f"{latency[phase][figure]:.0f}" for figure in ("p50", "p99", "max"))
            for phase in ("usual", "fault")
        )
        if self.sockets:
            sockets = "{open} of {opened}, {again:.1f} s, {slowest:.0f} ms".format(**self.sockets)
        failed = [f"{FAILURES[what]}: {number}" for what, number in self.failures.items()]
        return {
            "failures": ", ".join([*failed, *self.too_long()]) or "0",
            "usually, ms": usual,
            "during the fault": during,
            "once noticed, p99": f"{latency.get('noticed', latency['fault'])['p99']:.0f}",
            "cache back": f"{self.back:.1f} s",
            "sockets": sockets,
            **{what: str(self.did[what]) for what in ("logins", "requests", "replays")},
            "seen from outside": "; ".join(self.seen),
        }

    @property
    def is_enough(self) -> bool:
        return all(self.did[what] >= enough for what, enough in ENOUGH.items())

    def latency(self) -> dict[str, dict[str, float]]:
        """Return median, 99th percentile and maximum of each phase, in ms.

        "noticed" is "fault" without its first NOTICING seconds.
        """
        with self._lock:
            return {
                phase: {
                    "p50": 1000 * statistics.median(seconds),
                    "p99": 1000 * statistics.quantiles(seconds, n=100, method="inclusive")[98],
                    "max": 1000 * max(seconds),
                }
                for phase, seconds in self._seconds.items()
                if len(seconds) > 1
            }

    def too_long(self) -> list[str]:
        """Return the waits that were longer than allowed, in words; times are in ms."""
        latency = self.latency()
        usual, fault = latency["usual"], latency["fault"]
        noticed, noise = latency.get("noticed", fault), NOISE * usual["p99"]
        waits = [
            ("slowest request during the fault", fault["max"], SLOWEST + noise),
            ("p99 once noticed", noticed["p99"], P99 + noise),
            ("p50 once noticed", noticed["p50"], P50 + NOISE * usual["p50"]),
            ("return of the cache", 1000 * self.back, CACHE_BACK + noise),
        ]
        if self.sockets:
            again = 1000 * self.sockets["again"]
            waits.append(("slowest event", self.sockets["slowest"], SEND + noise))
            waits.append(("return of all sockets", again, RECEIVED_AGAIN + noise))
        return [
            f"{what}: {waited:.0f} ms (limit: {limit:.0f} ms)"
            for what, waited, limit in waits
            if waited > limit
        ]

    def verdict(self) -> list[str]:
        """Return what is wrong, as sentences, or an empty list."""
        wrong = [f"{number} {FAILURES[what]}" for what, number in self.failures.items()]
        wrong += [
            f"{self.did[what]} {what} are too few to prove anything, {enough} are needed"
            for what, enough in (ENOUGH | ENOUGH_MEANWHILE).items()
            if self.did[what] < enough
        ]
        if sockets := self.sockets:
            closed = sockets["opened"] - sockets["open"]
            failed = {
                "sockets closed": closed, "sockets silent at the end": sockets["silent"],
                "sends raised": sockets["raised"],
            }  # fmt: skip
            wrong += [f"{number} {what}" for what, number in failed.items() if number]
        return wrong + self.details + self.too_long()
