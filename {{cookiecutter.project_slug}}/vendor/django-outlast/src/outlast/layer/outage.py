"""What one process knows of the loss of one Redis."""

import logging
import threading
import time

logger = logging.getLogger(__name__)

BEAT = 1.0  # seconds between two questions: to Redis "alive?", to Sentinel "still the primary?"


class Outage:
    """What one process knows of the loss of one Redis, across its event loops and threads.

    The parts of a layer report when they break and when they work. The first broken
    part logs a line, and the last mended one another.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._broken: set[object] = set()
        self._since = self._next_try = 0.0
        self.last_error: BaseException | None = None  # for the doctor, who says what it means

    def begins(self, part: object, error: BaseException) -> None:
        with self._lock:
            if not self._broken:
                self._since = time.monotonic()
                logger.warning(
                    "Channel layer: Redis cannot be used (%s). Sockets stay open; messages "
                    "are dropped until it can.",
                    str(error) or "no answer in time",
                )
            self._broken.add(part)
            self.last_error = error
            self._next_try = time.monotonic() + BEAT

    def ends(self, part: object) -> None:
        with self._lock:
            if part in self._broken:
                self._broken.remove(part)
                if not self._broken:
                    seconds = time.monotonic() - self._since
                    logger.warning("Channel layer: whole again after %.1f s.", seconds)

    def forget(self, part: object) -> None:
        """Leave out a part that was closed, neither broken nor working."""
        with self._lock:
            self._broken.discard(part)

    def hits(self, part: object) -> bool:
        return part in self._broken

    def may_try(self, part: object) -> bool:
        """Whether to ask Redis: while it is lost only one caller in a beat may."""
        if part not in self._broken:
            return True
        with self._lock:
            now = time.monotonic()
            if now < self._next_try:
                return False
            self._next_try = now + BEAT
            return True
