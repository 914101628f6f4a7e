"""Django's Redis cache, except that an outage of Redis is a miss and that values are signed.

    CACHES = {
        "default": {
            "BACKEND": "outlast.cache.RedisCache",
            "LOCATION": "redis://host:6379/0",  # or rediss://, valkey://, valkeys://, unix://
            "KEY_PREFIX": "site",
            "OPTIONS": {"username": ..., "password": ...},
        }
    }

OPTIONS are those of Django's RedisCache: `serializer`, and arguments of redis-py's connections.
With Sentinels, LOCATION names their service, `redis://mymaster/0`, and OPTIONS holds
`"sentinels": [(host, port), ...]` and `"sentinel_kwargs"`, arguments of connections to them. With
Redis Cluster, LOCATION is a list of some nodes' addresses and OPTIONS holds `"cluster": True`.
"""

import contextlib
import functools
import hashlib
import hmac
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.cache.backends import redis as django_redis
from django.utils.encoding import force_bytes, force_str
from django.utils.functional import cached_property
from redis.connection import ConnectionPool
from redis.exceptions import ResponseError
from redis.typing import KeyT

from .counting import count_read
from .redis import LARGE, Client, Unavailable, get_client, read_address

__all__ = ["RedisCache", "StrictRedisCache", "Unavailable"]

logger = logging.getLogger(__name__)

MAC_SIZE = hashlib.sha256().digest_size
NUMBER_SIZE = 20  # of the longest whole number that Redis counts with; less than MAC_SIZE
CLEARED_SECONDS = 1.0  # after which a process notices that another one has cleared the cache


class ForgedValueError(ValueError):
    """A value in Redis was not written by this site, or not under this key."""


@functools.lru_cache(maxsize=16)
def _hmac(secret: str | bytes) -> hmac.HMAC:
    """Return an HMAC to copy, whose key no other use of SECRET_KEY shares."""
    key = hmac.digest(force_bytes(secret), b"outlast.cache", "sha256")
    return hmac.new(key, digestmod="sha256")


def _sign(secret: str | bytes, key: KeyT, payload: bytes) -> bytes:
    mac = _hmac(secret).copy()
    name = force_bytes(key)
    mac.update(b"%d:%s" % (len(name), name))  # the length: no key and payload read as others
    mac.update(payload)
    return mac.digest()


class RedisCacheClient(django_redis.RedisCacheClient):
    """Django's client on the one redis-py client of the process, with signed values.

    A writer to Redis could run code through pickle. So each value is
    HMAC(cache key, pickle) + pickle, and unpickled only if that is right. Whole numbers are
    stored as they are, for INCR.
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
        if type(payload) is int and -(2**63) <= payload < 2**63:
            return payload
        if not isinstance(payload, bytes):
            payload = str(payload).encode()
        return _sign(settings.SECRET_KEY, key, payload) + payload

    def loads(self, key: KeyT, data: Any) -> Any:
        """Return the value; raise ForgedValueError if `dumps` did not write it for this key."""
        if len(data) <= NUMBER_SIZE:
            if not data.removeprefix(b"-").isdigit():
                raise ForgedValueError("neither signed nor a number")
            return self._serializer.loads(data)
        mac, payload = data[:MAC_SIZE], data[MAC_SIZE:]
        for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
            if hmac.compare_digest(mac, _sign(secret, key, payload)):
                return self._serializer.loads(payload)
        raise ForgedValueError("its signature is wrong")

    def get(self, key: KeyT, default: Any) -> Any:
        """As Django's; a value that is not ours is a miss."""
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
        """As Django's; values that are not ours are misses."""
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

    def _remove(self, key: KeyT, error: Exception) -> None:
        # Else `add` would be refused for a value that `get` does not return. The key is not
        # logged: it may be a secret.
        logger.warning("A foreign value in the cache is a miss, and removed: %s.", error)
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
        """As Django's, signed, and with the time-out in the same command as the value."""
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
        """Return what keys under `prefix` begin with since the last `clear()`."""
        read_at, generation = self.generations.get(prefix, (-CLEARED_SECONDS, ""))
        if time.monotonic() - read_at >= CLEARED_SECONDS:
            with contextlib.suppress(Unavailable, ResponseError):
                found = force_str(self.redis.get(f"{prefix}:generation") or "", errors="ignore")
                generation = found if found.isdecimal() and len(found) < 20 else ""
            self.generations[prefix] = time.monotonic(), generation
        return f"{prefix}:{generation}" if generation else prefix

    def begin(self, prefix: str) -> None:
        """Let keys begin with something else, so that all that are there are misses."""
        generation = str(time.time_ns() // 1000)
        self.redis.set(f"{prefix}:generation", generation)
        self.generations[prefix] = time.monotonic(), generation


# Django makes a cache object for each thread, and under ASGI for each request.
_clients: dict[str, RedisCacheClient] = {}


def _in_thread(name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Return the asynchronous twin of the method `name`.

    Django's run in the one thread that all database queries of a task, or of all WebSockets,
    share; and those of Django 5.2 go key by key, so that `aincr` loses counts.
    """

    async def twin(self: Any, *args: Any, **kwargs: Any) -> Any:
        return await sync_to_async(getattr(self, name), thread_sensitive=False)(*args, **kwargs)

    twin.__name__ = f"a{name}"
    twin.__doc__ = f"See {name}()."
    return twin


class StrictRedisCache(django_redis.RedisCache):
    """Django's Redis cache for one address, with signed values; raises Unavailable."""

    _servers: list[str]
    _options: dict[str, Any]

    def __init__(self, server: str | list[str], params: dict[str, Any]):
        # Not as a text, which Django splits at commas: there may be one in the password.
        super().__init__([server] if isinstance(server, str) else server, params)
        self._params = params

    @cached_property
    def _cache(self) -> RedisCacheClient:
        key = repr((self._servers, self._options))
        if key not in _clients:
            canary = self.key_func("canary", self.key_prefix, self.version)
            _clients[key] = RedisCacheClient(self._servers, canary=canary, **self._options)
        return _clients[key]

    @property
    def client(self) -> Client:
        """The redis-py client of this process, behind its breaker."""
        return self._cache.redis

    def make_key(self, key: str, version: int | None = None) -> str:
        """As Django's, under the prefix that `clear()` has changed."""
        prefix = self._cache.current(self.key_prefix)
        made: str = self.key_func(key, prefix, self.version if version is None else version)
        return made

    def clear(self) -> bool:  # type: ignore[override]  # as Django's, which its types forget
        """Let all keys under this cache's KEY_PREFIX be misses, in all versions.

        Other processes follow within a second. Values are left to expire or to be evicted: to
        find them takes SCAN, which shows the keys of others who use the same Redis.
        """
        self._cache.begin(self.key_prefix)
        return True

    aadd, aget, aset, atouch, adelete, ahas_key, aincr, aclear = map(
        _in_thread, ("add", "get", "set", "touch", "delete", "has_key", "incr", "clear")
    )
    aget_many, aset_many, adelete_many = map(_in_thread, ("get_many", "set_many", "delete_many"))


class RedisCache(StrictRedisCache):
    """The same, except that an outage of Redis is a miss and never raised; see `MISSES`.

    Other errors are raised, such as those for a value that cannot be pickled. What was set or
    deleted during an outage is not repeated: an older value may be there afterwards, until it
    times out.
    """

    @cached_property
    def strict(self) -> StrictRedisCache:
        """The same cache, by the same client, raising Unavailable."""
        return StrictRedisCache(self._servers, self._params)


def _not_found(key: str, delta: int = 1, version: int | None = None) -> int:
    raise ValueError(f"Key {key!r} not found: Redis cannot be used.")


# What a method returns while Redis cannot be used, from the arguments of the call.
MISSES: dict[str, Callable[..., Any]] = {
    "get": lambda key, default=None, version=None: default,
    "get_many": lambda *args, **kwargs: {},
    "has_key": lambda *args, **kwargs: False,
    "set": lambda *args, **kwargs: None,
    "set_many": lambda data, *args, **kwargs: list(data),  # as memcached: keys that failed
    "add": lambda *args, **kwargs: False,
    "touch": lambda *args, **kwargs: False,
    "incr": _not_found,
    "delete": lambda *args, **kwargs: False,
    "delete_many": lambda *args, **kwargs: None,
    "clear": lambda *args, **kwargs: False,
}


def _missing(name: str, miss: Callable[..., Any]) -> Callable[..., Any]:
    strict = getattr(StrictRedisCache, name)

    @functools.wraps(strict)
    def method(self: RedisCache, *args: Any, **kwargs: Any) -> Any:
        try:
            return strict(self, *args, **kwargs)
        except Unavailable:
            return miss(*args, **kwargs)

    return method


for _name, _miss in MISSES.items():
    setattr(RedisCache, _name, _missing(_name, _miss))
