"""A circuit breaker: once Redis has failed nobody waits for it, until it is seen well again."""

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from redis.exceptions import (
    DataError,
    MaxConnectionsError,
    NoScriptError,
    ResponseError,
    WatchError,
)

logger = logging.getLogger(__name__)

COOLDOWN = 2.0  # seconds
Result = TypeVar("Result")

# Answers of a Redis that is well, about the key or the number it was asked about. All others
# (OOM, READONLY, LOADING, MISCONF, NOAUTH, a database number there is none of, ...) say that
# it cannot be used now.
ABOUT_OUR_DATA = (
    "WRONGTYPE",
    "value is not an integer",
    "increment or decrement would overflow",
    "invalid expire time",
    "string exceeds maximum allowed size",
)


class Unavailable(ConnectionError):  # noqa: N818
    """Redis cannot be used now. Says which one and why; never a password."""


class Breaker:
    """Passes calls on to one Redis, for all threads of the process.

    After a failure every call is refused at once for `COOLDOWN` seconds. Then one caller
    probes: `check` must succeed before its own call is made, and others go on being refused
    meanwhile. No lock is held while anybody waits for Redis.

    The start and the end of an outage are logged, and nothing in between; a pool that is used
    up, once a minute.

    `address`: what Redis is called in messages.
    `check`: asks for what an outage takes away; raises if Redis is not well.
    `on_failure`: called at every failure, to forget connections that lead nowhere.
    `secrets`: texts that are struck out of messages: old servers repeat the login they refuse.
    """

    def __init__(
        self,
        address: str,
        check: Callable[[], object],
        on_failure: Callable[[], object],
        secrets: tuple[str, ...] = (),
    ):
        self.address = address
        self._check, self._on_failure, self._secrets = check, on_failure, secrets
        self._lock = threading.Lock()
        self._reason = ""  # why Redis is left alone; empty while it is used
        self._changed = 0.0  # when that was last set or emptied; times are time.monotonic()
        self._probe_at = 0.0
        self._crowd_named_at = -math.inf

    @property
    def state(self) -> str:
        """ "closed" while Redis is used, "open" while it is left alone."""
        return "open" if self._reason else "closed"

    @property
    def reason(self) -> str:
        """Why Redis is left alone, in the words of the last error; empty while it is used."""
        return self._reason

    def call(self, function: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
        """Return what `function` returns.

        Raises Unavailable if Redis cannot be used now, and as they are: the errors of
        redis-py that are about the arguments or about the data.
        """
        started = time.monotonic()
        try:
            if self._reason:
                self._probe(started)
            return function(*args, **kwargs)
        except Unavailable:
            raise
        except MaxConnectionsError as error:
            # Our own crowd, and no reason to send it away from a Redis that is well.
            raise Unavailable(self._crowded(started)) from error
        except Exception as error:
            # Arguments were checked before: whatever else goes wrong in here comes from what
            # is behind the port, which need not even be a Redis.
            if is_about_data(error):
                raise
            self._fail(started, error)
            raise Unavailable(self._sentence()) from error

    def _probe(self, now: float) -> None:
        with self._lock:
            if now < self._probe_at:
                raise Unavailable(self._sentence())
            self._probe_at = now + COOLDOWN  # the next one's turn, should we never come back
        self._check()
        with self._lock:
            seconds = time.monotonic() - self._changed
            over, self._reason = bool(self._reason), ""
            self._changed = time.monotonic()
        if over:
            logger.warning("Redis at %s is used again after %.1f s.", self.address, seconds)

    def _fail(self, started: float, error: Exception) -> None:
        with self._lock:
            if started < self._changed:
                return  # a straggler from before the outage was noticed, or before it was over
            begins = not self._reason
            self._reason = self._without_secrets(str(error)) or type(error).__name__
            self._probe_at = time.monotonic() + COOLDOWN
            if begins:
                self._changed = time.monotonic()
        self._on_failure()
        if begins:
            logger.warning(
                "%s The site goes on without it and asks again every %g s; "
                "'manage.py doctor' tells more.",
                self._sentence(),
                COOLDOWN,
            )

    def _crowded(self, now: float) -> str:
        sentence = (
            f"All connections of this process to Redis at {self.address} are in use: "
            "raise max_connections in the OPTIONS of the cache."
        )
        if now >= self._crowd_named_at + 60:
            self._crowd_named_at = now
            logger.warning(sentence)
        return sentence

    def _sentence(self) -> str:
        reason = self._reason.rstrip(".") or "it has failed a moment ago"
        return f"Redis at {self.address} cannot be used: {reason}."

    def _without_secrets(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


def is_about_data(error: Exception) -> bool:
    """Whether `error` is about what was asked, and not about the server that was asked."""
    return isinstance(error, (DataError, NoScriptError, WatchError)) or (
        isinstance(error, ResponseError) and str(error).startswith(ABOUT_OUR_DATA)
    )
