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

import functools
from collections.abc import Callable, Coroutine
from typing import Any

from asgiref.sync import sync_to_async
from django.core.cache.backends import redis as django_redis
from django.utils.functional import cached_property

from .redis import Client, Unavailable
from .redis.values import RedisCacheClient

__all__ = ["RedisCache", "StrictRedisCache", "Unavailable"]

# Django makes a cache object for each thread, and under ASGI for each request.
_clients: dict[str, RedisCacheClient] = {}


def _in_thread(name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Return the asynchronous variant of the method `name`.

    Django's asynchronous methods share one thread with all database queries of a task, or of all
    WebSockets. Those of Django 5.2 use one command per key, and `aincr` loses counts.
    """

    async def variant(self: Any, *args: Any, **kwargs: Any) -> Any:
        return await sync_to_async(getattr(self, name), thread_sensitive=False)(*args, **kwargs)

    variant.__name__ = f"a{name}"
    variant.__doc__ = f"See {name}()."
    return variant


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
            canary = f"{self.key_prefix}:canary"
            _clients[key] = RedisCacheClient(self._servers, canary=canary, **self._options)
        return _clients[key]

    @property
    def client(self) -> Client:
        """The redis-py client of this process, behind its breaker."""
        return self._cache.redis

    def make_key(self, key: str, version: int | None = None) -> str:
        """Like Django's, with the prefix that `clear()` changes."""
        prefix = self._cache.current(self.key_prefix)
        made: str = self.key_func(key, prefix, self.version if version is None else version)
        return made

    def clear(self) -> bool:  # type: ignore[override]  # as Django's, which its types forget
        """Make all keys with this cache's KEY_PREFIX misses, in all versions.

        Other processes follow within a second. Old values expire or are evicted: finding them
        needs SCAN, which shows the keys of all sites on the same Redis.
        """
        self._cache.begin(self.key_prefix)
        return True

    aadd, aget, aset, atouch, adelete, ahas_key, aincr, aclear = map(
        _in_thread, ("add", "get", "set", "touch", "delete", "has_key", "incr", "clear")
    )
    aget_many, aset_many, adelete_many = map(_in_thread, ("get_many", "set_many", "delete_many"))


class RedisCache(StrictRedisCache):
    """The same, but reads miss during an outage of Redis and no error is raised; see `MISSES`.

    Other errors are raised, such as those for a value that cannot be pickled. Values that are
    set or deleted during an outage are not written later: an older value may be returned
    afterwards, until it times out.
    """

    @cached_property
    def strict(self) -> StrictRedisCache:
        """The same cache with the same client, but it raises Unavailable."""
        return StrictRedisCache(self._servers, self._params)


def _not_found(key: str, *_args: Any, **_kwargs: Any) -> int:
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
