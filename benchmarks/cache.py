"""Cache: microseconds of processor time for one call

Processor time of the calling process, which other programs of the machine disturb least.
"Django, one client" is Django's RedisCache whose calls share one redis-py client: Django itself
makes one for each call. The values of outlast are signed (HMAC-SHA256), the others' are not.
"""

import os
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.report import Figures, Table, interleave

LIBRARY = Path(__file__).parent.parent / "{{cookiecutter.project_slug}}/vendor/django-outlast/src"
VALUES: dict[str, Any] = {
    "text of 1 kB": "x" * 1000,
    "text of 100 kB": os.urandom(50_000).hex(),
    "dict of 1,000 items": {f"key {n}": {"id": n, "active": True} for n in range(1000)},
}


def run(rounds: int) -> Iterator[Table]:
    """Yield a table for each kind of value."""
    sys.path.insert(0, str(LIBRARY))
    from django.conf import settings
    from outlast.servers import Topology

    settings.configure(SECRET_KEY="x" * 50, OUTLAST={})
    with Topology() as servers:
        caches = make_caches(servers.environment()["REDIS_URL"])
        for title, value in VALUES.items():
            subjects = {name: partial(measure, cache, value) for name, cache in caches.items()}
            yield Table(f"cache: {title}", interleave(subjects, 5 * rounds, title))


def make_caches(url: str) -> dict[str, Any]:
    """Return what is compared."""
    from django.core.cache.backends.redis import RedisCache
    from django_redis.cache import RedisCache as DjangoRedis
    from outlast.cache import RedisCache as Outlast

    shared: Any = RedisCache(url, {})
    client = shared._cache.get_client()
    shared._cache.get_client = lambda key=None, *, write=False: client
    return {
        "outlast": Outlast(url, {}),
        "Django": RedisCache(url, {}),
        "Django, one client": shared,
        "django-redis": DjangoRedis(url, {}),
    }


def measure(cache: Any, value: Any) -> Figures:
    """Return the microseconds of each kind of call; the least of some runs."""
    many = {f"key {n}": value for n in range(10)}
    calls = {
        "set": partial(cache.set, "key", value),
        "get": partial(cache.get, "key"),
        "set_many of 10": partial(cache.set_many, many),
        "get_many of 10": partial(cache.get_many, list(many)),
    }
    return {name: min(timed(call) for _ in range(5)) for name, call in calls.items()}


def timed(call: Any) -> float:
    began = time.process_time()
    for _ in range(20):
        call()
    return (time.process_time() - began) / 20 * 1e6
