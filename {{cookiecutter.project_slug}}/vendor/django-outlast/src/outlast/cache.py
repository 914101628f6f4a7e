"""Django's Redis cache, made such that the site neither fails nor waits because of Redis.

    CACHES = {
        "default": {
            "BACKEND": "outlast.cache.RedisCache",
            "LOCATION": "redis://user:password@host:6379/0",  # or rediss://, unix://
            "KEY_PREFIX": "site",
        }
    }

With Sentinels LOCATION names their service, `redis://mymaster/0` (`rediss://` for TLS), and
OPTIONS says the rest: `{"sentinels": [("host", 26379), ...], "sentinel_kwargs": {"password":
...}, "username": ..., "password": ...}`; all of them are described at `redis_client.make_client`.

`caches["default"].client` is for others who need Redis: the one client of the process, whose
`breaker.state` says whether it is in use.
"""

import contextlib
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from asgiref.sync import sync_to_async
from django.core.cache.backends import redis as django_redis
from django.core.cache.backends.base import DEFAULT_TIMEOUT
from django.core.exceptions import ImproperlyConfigured
from django.utils.functional import cached_property

from .breaker import Unavailable
from .cache_client import RedisCacheClient, shared_client
from .redis_client import Client

__all__ = ["RedisCache", "StrictRedisCache", "Unavailable"]


def in_thread(name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
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
    """Django's, for one server, with one client a process; raises Unavailable without Redis.

    Django's makes a client for every cache object, that is for every thread, and under ASGI
    for every request, and each of them dials Redis anew.
    """

    _servers: list[str]
    _options: dict[str, Any]

    def __init__(self, server: str | list[str], params: dict[str, Any]):
        servers = [server] if isinstance(server, str) else server
        if len(servers) != 1:
            raise ImproperlyConfigured(
                "LOCATION of the Redis cache must be one address: replicas lag behind, and give "
                "values back that were deleted."
            )
        super().__init__(servers, params)
        self._params = params

    @property
    def _cache(self) -> RedisCacheClient:
        return shared_client(self._servers, self.make_key("canary"), self._options)

    @property
    def client(self) -> Client:
        """The redis-py client of this process, behind its breaker."""
        return self._cache.redis

    def clear(self) -> bool:  # type: ignore[override]  # as Django's, which its types forget
        """Remove what is under this cache's KEY_PREFIX, in all versions, and nothing else."""
        prefix = self.key_prefix
        for sign in "\\*?[":
            prefix = prefix.replace(sign, f"\\{sign}")
        return self._cache.delete_matching(self.key_func("*", prefix, "*"))

    aadd, aget, aset, atouch, adelete, ahas_key, aincr, aclear = map(
        in_thread, ("add", "get", "set", "touch", "delete", "has_key", "incr", "clear")
    )
    aget_many, aset_many, adelete_many = map(in_thread, ("get_many", "set_many", "delete_many"))


class RedisCache(StrictRedisCache):
    """The same, except that an error of Redis is a miss and never raised.

    `strict` is for those who must know. Errors in what is asked for, such as a value that
    JSON has no words for, are raised here too.

    What was set or deleted while Redis was away is not made up for: an older value may be
    there when it comes back, for as long as its time-out.
    """

    @cached_property
    def strict(self) -> StrictRedisCache:
        """The same cache, by the same client, raising Unavailable."""
        return StrictRedisCache(self._servers, self._params)

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        """Return the value, or `default` if there is none to be had."""
        with contextlib.suppress(Unavailable):
            return super().get(key, default, version=version)
        return default

    def get_many(self, keys: Iterable[str], version: int | None = None) -> dict[str, Any]:
        """Return the values there are."""
        with contextlib.suppress(Unavailable):
            return super().get_many(keys, version=version)
        return {}

    def has_key(self, key: str, version: int | None = None) -> bool:
        """Return whether there is a value to be had."""
        with contextlib.suppress(Unavailable):
            return super().has_key(key, version=version)
        return False

    def set(
        self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> None:
        """Store the value if Redis takes it."""
        with contextlib.suppress(Unavailable):
            super().set(key, value, timeout, version=version)

    def add(
        self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        """Store the value if there is none; return whether it was stored."""
        with contextlib.suppress(Unavailable):
            return super().add(key, value, timeout, version=version)
        return False

    def set_many(
        self,
        data: dict[str, Any],
        timeout: Any = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> list[str]:
        """Store the values; return the keys of all if Redis cannot be used."""
        with contextlib.suppress(Unavailable):
            return super().set_many(data, timeout, version=version)
        return list(data)

    def touch(self, key: str, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        """Give the value a new time-out; return whether that was done."""
        with contextlib.suppress(Unavailable):
            return super().touch(key, timeout, version=version)
        return False

    def incr(self, key: str, delta: int = 1, version: int | None = None) -> int:
        """Count up; raises ValueError where there is no number to be had."""
        try:
            return super().incr(key, delta, version=version)
        except Unavailable as error:
            raise ValueError(f"Key {key!r} not found: {error}") from error

    def delete(self, key: str, version: int | None = None) -> bool:
        """Remove the value; return whether that was done."""
        with contextlib.suppress(Unavailable):
            return super().delete(key, version=version)
        return False

    def delete_many(self, keys: Iterable[str], version: int | None = None) -> None:
        """Remove the values if Redis can be used."""
        with contextlib.suppress(Unavailable):
            super().delete_many(keys, version=version)

    def clear(self) -> bool:  # type: ignore[override]  # see above
        """Remove what is under this cache's KEY_PREFIX; return whether that was done."""
        with contextlib.suppress(Unavailable):
            return super().clear()
        return False
