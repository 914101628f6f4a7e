"""What users did in one outage, what went wrong, and how long it took."""

import statistics
import threading
import time
from collections import Counter, defaultdict
from typing import NamedTuple

# What must never happen, whatever Redis does.
FAILURES = {
    "errors": "requests answered 5xx or not at all",
    "refused": "logins refused",
    "logged_out": "users logged out",
    "alive": "ended sessions that answer as logged in",
    "lost": "session writes lost or gone back in time",
}
NO_ANSWER = 599
# The longest allowed wait in milliseconds, twice what is to be held on a quiet machine. NOISE
# times the usual wait of the outage is added: a busy machine is not a failure.
SLOWEST, NOISE = 2000.0, 5
AFTERMATH = 3.0  # seconds that idle connections lead to the former primary after a failover
NOTICING = 1.0  # seconds in which some requests meet a fault that is not noticed yet


def slowest_allowed(latency: dict[str, dict[str, float]]) -> float:
    """Return the longest allowed wait, in ms, in an outage with these latencies."""
    return SLOWEST + NOISE * latency["usual"]["p99"]


class Ended(NamedTuple):
    """A session that was ended: its key, and the worker that acknowledged the end."""

    key: str
    worker: str


class Recorder:
    """Filled by all threads; `phase` is "warming up", "usual", "fault" or "after"."""

    def __init__(self) -> None:
        self.phase = "warming up"
        self.over = threading.Event()
        self.did: Counter[str] = Counter()
        self.before: Counter[str] = Counter()  # failures from before the fault
        self.failures: Counter[str] = Counter()
        self.details: list[str] = []
        self.ended: list[Ended] = []
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
                detail = f"{FAILURES[what]}: {detail}"
                self.details.append(f"{self.phase} +{self.since(self.phase):.1f} s, {detail}")

    def end(self, session: Ended) -> None:
        """Remember a session whose end was acknowledged."""
        with self._lock:
            self.ended.append(session)

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
                if phase != "warming up" and len(seconds) > 1
            }
