"""The circuit breaker: after a failure, Redis is not used for a while."""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable

from redis import exceptions

from outlast.addresses import Address, hide_secrets

logger = logging.getLogger(__name__)

COOLDOWN = 2.0  # seconds for which a failed Redis is not used
LARGE = 1_000_000  # bytes of a value that may take longer than a timeout to send


class Unavailable(ConnectionError):  # noqa: N818
    """Redis cannot be used now. Its text names the address and the reason, never a password."""


# Replies that mean that Redis cannot be used. All others are about a key, a value or a command,
# and are raised. MOVED: a node of a cluster that is used as a single server.
UNUSABLE = {
    "LOADING", "OOM", "READONLY", "NOAUTH", "WRONGPASS", "NOPERM", "MISCONF", "MASTERDOWN",
    "CLUSTERDOWN", "NOREPLICAS", "BUSY", "DENIED", "MOVED",
}  # fmt: skip


def is_outage(error: BaseException | None) -> bool:
    """Return whether `error` says that Redis cannot be used at all."""
    if isinstance(error, exceptions.ResponseError):
        return (error.status_code or str(error).partition(" ")[0]) in UNUSABLE
    return isinstance(
        error,
        (
            exceptions.ConnectionError,
            exceptions.TimeoutError,
            exceptions.InvalidResponse,
            exceptions.RedisClusterException,
            exceptions.ClusterError,
            OSError,
        ),
    )


class Breaker:
    """A context manager that stops all threads from using a Redis that has failed.

    After a failure it raises Unavailable at once, for `COOLDOWN` seconds. Then one caller
    probes: `check` must succeed before that caller goes on; the others are still refused. No
    lock is held while a thread waits for Redis. The start and the end of an outage are logged.
    """

    def __init__(
        self, address: Address, check: Callable[[], object], on_failure: Callable[[], object]
    ):
        self.address = address
        self.reason = ""  # the text of the error while Redis is not used, otherwise empty
        self.check, self._on_failure = check, on_failure
        self._lock = threading.Lock()
        self._since: float  # of the outage; times are time.monotonic()
        self._probe_at: float
        self._crowded_until = -math.inf  # no second warning about too few connections until then

    @property
    def is_open(self) -> bool:
        """Whether Redis is not used at present."""
        return bool(self.reason)

    def __enter__(self) -> None:
        if self.reason:
            self._probe()

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is None:
            return
        if isinstance(error, exceptions.MaxConnectionsError):
            text = f"All connections of this process to Redis at {self.address} are in use: "
            text += "raise max_connections in its address or in the OPTIONS of the cache."
            if time.monotonic() >= self._crowded_until:
                self._crowded_until = time.monotonic() + 60
                logger.warning(text)
            raise Unavailable(text) from error
        if is_outage(error) and not isinstance(error, Unavailable):
            raise self.record_failure(error) from without_secrets(error, self.address.secrets)

    def record_failure(self, error: BaseException | None) -> Unavailable:
        """Open the breaker, and return what to raise; log it if Redis was in use until now."""
        reason = str(error).strip().rstrip(".") or type(error).__name__
        reason = reason.partition(" : <")[0]  # redis-py's list of Sentinels takes 1,000 characters
        code = getattr(error, "status_code", None)  # redis-py removes some from the text
        reason = reason if not code or code in reason else f"{code} {reason}"
        with self._lock:
            is_new = not self.reason
            self.reason = hide_secrets(reason, self.address.secrets)
            if is_new:
                self._since = time.monotonic()
                self._probe_at = self._since + COOLDOWN
        self._on_failure()
        if is_new:
            logger.warning(
                "%s The site works without it and tries again every %g s. To find the cause, run "
                "python manage.py doctor.", self._unavailable(), COOLDOWN)  # fmt: skip
        return self._unavailable()

    def excuse_large_value(self, error: Exception, args: Iterable[object]) -> None:
        """Raise Unavailable if only the size of an argument can be the cause of the error.

        Redis closes the connection for values over proto-max-bulk-len (512 MB), and sending
        smaller ones can take longer than a timeout. It can still be used for other values.
        """
        size = max((len(arg) for arg in args if isinstance(arg, bytes)), default=0)
        if size > LARGE:
            self.check()
            sentence = f"Redis at {self.address} did not accept a value of {size:,} bytes."
            logger.warning(sentence)
            raise Unavailable(sentence) from without_secrets(error, self.address.secrets)

    def probe_soon(self) -> None:
        """Let the next caller probe, because Redis can probably be used again."""
        self._probe_at = -math.inf

    def _probe(self) -> None:
        with self._lock:
            now = time.monotonic()
            if self.reason and now < self._probe_at:
                raise self._unavailable()
            self._probe_at = now + COOLDOWN
        try:
            self.check()
        except Exception as error:
            raise self.record_failure(error) from without_secrets(error, self.address.secrets)
        with self._lock:
            over, self.reason = self.reason, ""
        if over:
            seconds = time.monotonic() - self._since
            logger.warning("Redis at %s is used again after %.1f s.", self.address, seconds)

    def _unavailable(self) -> Unavailable:
        return Unavailable(f"Redis at {self.address} cannot be used: {self.reason}.")


def without_secrets(error: BaseException | None, secrets: list[str]) -> BaseException | None:
    """Return `error` without the passwords in its text, and without tracebacks.

    Frames of redis-py hold the password that they log in with, and Django's error pages and
    mails show the variables of frames.
    """
    link = error
    while link:
        link.__traceback__ = None
        link.args = tuple(hide_secrets(str(arg), secrets) for arg in link.args)
        link = link.__cause__ or link.__context__
    return error
