"""The one client of a cache in a process: Django's client over ours, with JSON for pickle."""

import contextlib
import logging
import os
import threading
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from django.core.cache.backends import redis as django_redis
from redis.exceptions import ResponseError
from redis.typing import KeyT

from .breaker import Unavailable
from .counting import count_read
from .redis_client import Client, make_client
from .serializers import CorruptValueError, JSONSerializer

logger = logging.getLogger(__name__)


class RedisCacheClient(django_redis.RedisCacheClient):
    """Django's, with one redis-py client for good, and JSON in place of pickle.

    What is not JSON of ours counts as a miss and is removed, or `add` would be refused on
    behalf of a value that `get` does not see.
    """

    _pool_options: dict[str, Any]
    _serializer: JSONSerializer

    def __init__(self, servers: list[str], *, canary: str, **options: Any):
        super().__init__(servers, **{"serializer": JSONSerializer, **options})
        self._pool_options.pop("driver_info", None)
        self.redis = make_client(servers[0], canary, **self._pool_options)

    def get_client(self, key: KeyT | None = None, *, write: bool = False) -> Client:
        """Return the one client, for reading as for writing."""
        return self.redis

    def get(self, key: KeyT, default: Any) -> Any:
        """As Django's, with a miss for a corrupt value."""
        try:
            return self._load(key, self.redis.get(key), default)
        except ResponseError as error:  # a list or a set, say, in the place of a value
            self._remove(key, error)
            return default

    def get_many(self, keys: Iterable[KeyT]) -> dict[KeyT, Any]:
        """As Django's, without the corrupt values."""
        keys, missing = list(keys), object()
        data = self.redis.mget(keys) if keys else []
        found = {k: self._load(k, v, missing) for k, v in zip(keys, data, strict=True)}
        return {key: value for key, value in found.items() if value is not missing}

    def _load(self, key: KeyT, data: bytes | str | None, default: Any) -> Any:
        result, value = "miss", default
        try:
            if isinstance(data, bytes):
                result, value = "hit", self._serializer.loads(data)
        except CorruptValueError as error:
            self._remove(key, error)
        count_read(result)
        return value

    def _remove(self, key: KeyT, error: Exception) -> None:
        # Not the key: it may be the key of a session.
        logger.warning("A value in the cache is a miss, and removed: %s.", error)
        with contextlib.suppress(Unavailable):
            self.redis.unlink(key)

    def incr(self, key: KeyT, delta: int) -> Any:
        """As Django's; raises ValueError for a value that is no number as well."""
        try:
            return super().incr(key, delta)
        except ResponseError as error:
            raise ValueError(f"Key {key!r} cannot be counted up by {delta!r}: {error}.") from error

    def set_many(self, data: Mapping[KeyT, Any], timeout: int | timedelta | None) -> None:
        """As Django's, with the time-out in the same command as the value."""
        values = {key: self._serializer.dumps(value) for key, value in data.items()}
        if timeout == 0:
            self.redis.unlink(*values)
            return
        pipeline = self.redis.pipeline(transaction=False)
        for key, value in values.items():
            pipeline.set(key, value, ex=timeout)
        pipeline.execute()

    def delete_matching(self, pattern: str) -> bool:
        """Remove keys; Django's `clear()` flushes the database, whoever else uses it."""
        batch: list[bytes] = []
        for key in self.redis.scan_iter(match=pattern, count=1000):
            batch.append(key)
            if len(batch) == 1000:
                self.redis.unlink(*batch)
                batch.clear()
        if batch:
            self.redis.unlink(*batch)
        return True


_shared: dict[str, RedisCacheClient] = {}
_lock = threading.Lock()


def shared_client(servers: list[str], canary: str, options: dict[str, Any]) -> RedisCacheClient:
    """Return the client of this process for these settings, the same for all who ask.

    `canary` is the key that is written to see whether Redis is well.
    """
    settings = repr((servers, canary, options))
    if settings not in _shared:
        with _lock:
            if settings not in _shared:
                _shared[settings] = RedisCacheClient(servers, canary=canary, **options)
    return _shared[settings]


def forget_clients() -> None:
    """Let every client be made anew: a forked process shares neither sockets nor locks."""
    global _shared, _lock
    _shared, _lock = {}, threading.Lock()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=forget_clients)
