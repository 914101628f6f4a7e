"""Django's cache client on the one redis-py client of the process, with signed values.

Without signatures, anyone who can write to Redis could run code through pickle, or move a value to
another key. So values are stored as HMAC(cache key, payload) + payload, and only those with the
right signature for their key are unpickled. Whole numbers are stored unsigned, for INCR.
"""

import contextlib
import functools
import hmac
import logging
import math
import re
import time
from collections.abc import Iterable, Mapping
from typing import Any

from django.conf import settings
from django.core.cache.backends import redis as django_redis
from django.utils.encoding import force_bytes, force_str
from redis.connection import ConnectionPool
from redis.exceptions import ResponseError
from redis.typing import KeyT

from outlast.addresses import read_address
from outlast.counting import count_read

from .breaker import LARGE, Unavailable
from .clients import Client, get_client

logger = logging.getLogger(__name__)

CLEARED_SECONDS = 1.0  # after which a process notices that another one has cleared the cache
MAC_SIZE = 32  # of SHA-256
# The whole numbers that Redis counts with.
NUMBERS, NUMBER = range(-(2**63), 2**63), re.compile(rb"0|-?[1-9]\d{,18}")


@functools.cache
def _hmac(secret: str | bytes) -> hmac.HMAC:
    """Return an HMAC to copy, with a key that is only used here."""
    return hmac.new(hmac.digest(force_bytes(secret), b"outlast.cache", "sha256"), None, "sha256")


def _mac(secret: str | bytes, key: KeyT, payload: bytes) -> bytes:
    name, mac = force_bytes(key), _hmac(secret).copy()
    mac.update(b"%d:%s%s" % (len(name), name, payload))  # the length separates the two
    return mac.digest()


def sign(key: KeyT, payload: Any) -> bytes | int:
    """Return what is stored for a payload, which a serializer made, under `key`."""
    if type(payload) is int and payload in NUMBERS:
        return int(payload)
    data = payload if isinstance(payload, bytes) else str(payload).encode()
    return _mac(settings.SECRET_KEY, key, data) + data


def unsign(key: KeyT, data: bytes) -> bytes | None:
    """Return the payload, or None if `sign` did not sign it for this key."""
    if NUMBER.fullmatch(data) and int(data) in NUMBERS:
        return data
    mac, payload = data[:MAC_SIZE], data[MAC_SIZE:]
    for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        if hmac.compare_digest(mac, _mac(secret, key, payload)):
            return payload
    return None


class SignedValues:
    """redis-py's client, which signs values under their keys."""

    def __init__(self, client: Client):
        self.client: Any = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:  # for isinstance, as Django's lazy objects do
        return type(self.client)

    def set(self, key: KeyT, payload: Any, **options: Any) -> Any:
        return self.client.set(key, sign(key, payload), **options)

    def get(self, key: KeyT) -> bytes | None:
        """Return the payload; None for a value without a valid signature."""
        try:
            data = self.client.get(key)
        except ResponseError as error:
            if not str(error).startswith("WRONGTYPE"):
                raise
            data = b""
        return self._read(key, data)

    def mget(self, keys: Iterable[KeyT]) -> list[bytes | None]:
        keys = list(keys)
        found = self.client.mget(keys) if keys else ()
        return list(map(self._read, keys, found))

    def incr(self, key: KeyT, delta: int) -> Any:
        """As redis-py's; raise ValueError for a value that this site did not write."""
        try:
            return self.client.incr(key, delta)
        except ResponseError as error:
            if "overflow" in str(error) and abs(delta) < 2**62:  # real counters are smaller
                self._remove(key, error)
            elif self.get(key) is not None:
                raise
            raise ValueError(f"Key {key!r} not found.") from error

    def _read(self, key: KeyT, data: bytes | None) -> bytes | None:
        payload = None if data is None else unsign(key, data)
        if payload is None and data is not None:
            self._remove(key, "neither signed nor a number")
        count_read("miss" if payload is None else "hit")
        return payload

    def _remove(self, key: KeyT, reason: object) -> None:
        # Otherwise, `add` would refuse to replace a value that `get` does not return. The key is
        # not logged, because it may be secret.
        logger.warning("Deleted a value from the cache that this site did not write: %s.", reason)
        with contextlib.suppress(Unavailable):
            self.client.unlink(key)


class RedisCacheClient(django_redis.RedisCacheClient):
    """Django's client on the one redis-py client of the process, with signed values."""

    _pool_options: dict[str, Any]
    _serializer: Any

    def __init__(self, servers: list[str], *, canary: str, **options: Any):
        super().__init__(servers, **options)
        self.redis: Client = get_client(read_address(servers, self._pool_options), canary)
        signed = SignedValues(self.redis)
        self._client = lambda connection_pool: signed
        self.generations: dict[str, tuple[float, str]] = {}

    def _get_connection_pool(self, write: bool) -> ConnectionPool | None:
        return getattr(self.redis, "connection_pool", None)  # a cluster has one for each node

    def set_many(self, data: Mapping[KeyT, Any], timeout: Any) -> None:
        """Like Django's, with the timeout in the same command as the value."""
        values = {key: sign(key, self._serializer.dumps(value)) for key, value in data.items()}
        if timeout == 0:
            self.redis.delete(*values)
            return
        pipeline = self.redis.pipeline(transaction=False)
        for key, value in values.items():
            large = isinstance(value, bytes) and len(value) > LARGE
            (self.redis if large else pipeline).set(key, value, ex=timeout)
        with self.redis.breaker:
            # Not by raise_on_error: redis-py's text would repeat the value.
            for reply in pipeline.execute(raise_on_error=False):
                if isinstance(reply, Exception):
                    raise reply

    def current(self, prefix: str) -> str:
        """Return the prefix of keys since the last `clear()` of `prefix`."""
        read_at, generation = self.generations.get(prefix, (-math.inf, ""))
        if time.monotonic() - read_at >= CLEARED_SECONDS:
            with contextlib.suppress(Unavailable, ResponseError):
                found = force_str(self.redis.get(f"{prefix}:generation") or "", errors="ignore")
                generation = found if found.isdecimal() and len(found) < 20 else ""
            self.generations[prefix] = time.monotonic(), generation
        return f"{prefix}:{generation}" if generation else prefix

    def begin(self, prefix: str) -> None:
        """Change the prefix of keys, so that all existing keys are misses."""
        generation = str(time.time_ns())
        self.redis.set(f"{prefix}:generation", generation)
        self.generations[prefix] = time.monotonic(), generation
