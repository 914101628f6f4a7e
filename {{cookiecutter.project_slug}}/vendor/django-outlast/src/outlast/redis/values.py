"""Django's cache client, with signed values, on the one redis-py client of the process."""

import contextlib
import logging
import re
import time
from collections.abc import Iterable, Mapping
from typing import Any

from django.core.cache.backends import redis as django_redis
from django.utils.encoding import force_str
from redis.connection import ConnectionPool
from redis.exceptions import ResponseError
from redis.typing import KeyT

from outlast.addresses import read_address
from outlast.counting import count_read

from .breaker import LARGE, Unavailable
from .clients import Client, get_client
from .signing import ForgedValueError, sign, unsign

logger = logging.getLogger(__name__)

NUMBER_SIZE = 20  # of the longest whole number that Redis counts with; less than a signature
NUMBERS, NUMBER = range(-(2**63), 2**63), re.compile(rb"0|-?[1-9]\d*")  # that Redis counts with
CLEARED_SECONDS = 1.0  # after which a process notices that another one has cleared the cache


class RedisCacheClient(django_redis.RedisCacheClient):
    """Django's client on the one redis-py client of the process, with signed values.

    See `signing`. Whole numbers are stored as they are, for INCR.
    """

    _pool_options: dict[str, Any]
    _serializer: Any

    def __init__(self, servers: list[str], *, canary: str, **options: Any):
        super().__init__(servers, **options)
        self.redis: Client = get_client(read_address(servers, self._pool_options), canary)
        self._client = lambda connection_pool: self.redis
        self.generations: dict[str, tuple[float, str]] = {}

    def _get_connection_pool(self, write: bool) -> ConnectionPool | None:
        return getattr(self.redis, "connection_pool", None)  # a cluster has one for each node

    def dumps(self, key: KeyT, value: Any) -> bytes | int:
        """Return what is stored under `key`."""
        payload = self._serializer.dumps(value)
        if type(payload) is int and payload in NUMBERS:
            return payload
        if not isinstance(payload, bytes):
            payload = str(payload).encode()
        return sign(key, payload)

    def loads(self, key: KeyT, data: Any) -> Any:
        """Return the value; raise ForgedValueError if `dumps` did not write it for this key."""
        if len(data) <= NUMBER_SIZE:
            if not NUMBER.fullmatch(data) or int(data) not in NUMBERS:
                raise ForgedValueError("neither signed nor a number")
            return self._serializer.loads(data)
        return self._serializer.loads(unsign(key, data))

    def get(self, key: KeyT, default: Any) -> Any:
        """Like Django's; a value without a valid signature is a miss."""
        try:
            data = self.redis.get(key)
            value = default if data is None else self.loads(key, data)
        except (ForgedValueError, ResponseError) as error:
            if isinstance(error, ResponseError) and not str(error).startswith("WRONGTYPE"):
                raise
            self._remove(key, error)
            data, value = None, default
        count_read("miss" if data is None else "hit")
        return value

    def get_many(self, keys: Iterable[KeyT]) -> dict[KeyT, Any]:
        """Like Django's; values without a valid signature are misses."""
        found = {}
        keys = list(keys)
        for key, data in zip(keys, self.redis.mget(keys) if keys else (), strict=True):
            if data is not None:
                try:
                    found[key] = self.loads(key, data)
                except ForgedValueError as error:
                    self._remove(key, error)
            count_read("hit" if key in found else "miss")
        return found

    def incr(self, key: KeyT, delta: int) -> int:
        """Like Django's; a value that this site did not write is not found."""
        try:
            return super().incr(key, delta)  # type: ignore[no-any-return]
        except ResponseError as error:
            if "overflow" in str(error):  # no counter gets as far
                self._remove(key, error)
            elif self.get(key, error) is not error:
                raise
            raise ValueError(f"Key {key!r} not found.") from error

    def _remove(self, key: KeyT, error: Exception) -> None:
        # Else `add` would be refused for a value that `get` does not return. The key is not
        # logged: it may be a secret.
        logger.warning("Deleted a value from the cache that this site did not write: %s.", error)
        with contextlib.suppress(Unavailable):
            self.redis.unlink(key)

    def add(self, key: KeyT, value: Any, timeout: Any) -> bool:
        """As Django's, signed."""
        data = self.dumps(key, value)
        if timeout == 0:
            return not self.redis.exists(key)
        return bool(self.redis.set(key, data, ex=timeout, nx=True))

    def set(self, key: KeyT, value: Any, timeout: Any) -> None:
        """As Django's, signed."""
        data = self.dumps(key, value)
        if timeout == 0:
            self.redis.delete(key)
        else:
            self.redis.set(key, data, ex=timeout)

    def set_many(self, data: Mapping[KeyT, Any], timeout: Any) -> None:
        """Like Django's, signed, and with the time-out in the same command as the value."""
        values = {key: self.dumps(key, value) for key, value in data.items()}
        if timeout == 0:
            self.redis.delete(*values)
            return
        pipeline = self.redis.pipeline(transaction=False)
        for key, value in values.items():
            if isinstance(value, bytes) and len(value) > LARGE:
                self.redis.set(key, value, ex=timeout)
            else:
                pipeline.set(key, value, ex=timeout)
        with self.redis.breaker:
            # Not by raise_on_error: redis-py's text would repeat the value.
            for reply in pipeline.execute(raise_on_error=False):
                if isinstance(reply, Exception):
                    raise reply

    def current(self, prefix: str) -> str:
        """Return the prefix of keys since the last `clear()` of `prefix`."""
        read_at, generation = self.generations.get(prefix, (-CLEARED_SECONDS, ""))
        if time.monotonic() - read_at >= CLEARED_SECONDS:
            with contextlib.suppress(Unavailable, ResponseError):
                found = force_str(self.redis.get(f"{prefix}:generation") or "", errors="ignore")
                generation = found if found.isdecimal() and len(found) < 20 else ""
            self.generations[prefix] = time.monotonic(), generation
        return f"{prefix}:{generation}" if generation else prefix

    def begin(self, prefix: str) -> None:
        """Change the prefix of keys, so that all existing keys are misses."""
        generation = str(time.time_ns() // 1000)
        self.redis.set(f"{prefix}:generation", generation)
        self.generations[prefix] = time.monotonic(), generation
