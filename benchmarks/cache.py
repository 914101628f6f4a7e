"""Cache: microseconds of processor time for one call

Processor time of the calling process, which other programs of the machine disturb least.
"Django, one client" is Django's RedisCache whose calls share one redis-py client: Django itself
makes one for each call. The values of outlast are signed (HMAC-SHA256), the others' are not.
"""

import os
import time
import timeit
from collections.abc import Iterator
from functools import partial
from typing import Any

from benchmarks.report import Figures, Table, interleave
from proof.conftest import module

VALUES: dict[str, Any] = {
    "text of 1 kB": "x" * 1000,
    "text of 100 kB": os.urandom(50_000).hex(),
    "dict of 1,000 items": {f"key {n}": {"id": n, "active": True} for n in range(1000)},
}


def run(rounds: int) -> Iterator[Table]:
    """Yield a table for each kind of value."""
    module("django.conf").settings.configure(SECRET_KEY="x" * 50, OUTLAST={})
    kinds = {
        "outlast": "outlast.cache",
        "Django": "django.core.cache.backends.redis",
        "Django, one client": "django.core.cache.backends.redis",
        "django-redis": "django_redis.cache",
    }
    with module("outlast.servers").Topology() as servers:
        url = servers.environment()["REDIS_URL"]
        caches = {name: module(kind).RedisCache(url, {}) for name, kind in kinds.items()}
        shared = caches["Django, one client"]._cache
        client = shared.get_client()
        shared.get_client = lambda key=None, *, write=False: client
        for title, value in VALUES.items():
            subjects = {name: partial(measure, cache, value) for name, cache in caches.items()}
            yield Table(f"cache: {title}", interleave(subjects, 5 * rounds, title))


def measure(cache: Any, value: Any) -> Figures:
    """Return the microseconds of each kind of call; the least of some runs."""
    many = {f"key {n}": value for n in range(10)}
    calls = {
        "set": partial(cache.set, "key", value),
        "get": partial(cache.get, "key"),
        "set_many of 10": partial(cache.set_many, many),
        "get_many of 10": partial(cache.get_many, list(many)),
    }
    repeat = partial(timeit.repeat, timer=time.process_time, repeat=5, number=20)
    return {name: min(repeat(call)) / 20 * 1e6 for name, call in calls.items()}
