"""Values and keys that people use: the same on Redis as on Django's other caches."""

import collections
import datetime
import decimal
import inspect
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from caches import make_cache
from django.contrib.auth.models import Group, User
from django.core.cache.backends.base import CacheKeyWarning
from django.core.cache.backends.filebased import FileBasedCache
from django.core.cache.backends.locmem import LocMemCache
from django.db.models import Q
from django.utils.translation import gettext_lazy
from outlast.cache import RedisCache, Unavailable

from tests.servers import Topology


class Point(NamedTuple):
    x: int
    y: int


@pytest.fixture
def caches(backend: Topology, tmp_path: Path) -> list[Any]:
    """Redis, and what must give the same."""
    return [make_cache(backend), FileBasedCache(str(tmp_path), {}), LocMemCache("values", {})]


VALUES = [
    {1: "a", None: "b", (1, 2): "c"},
    Point(1, 2),
    gettext_lazy("Log in"),
    decimal.Decimal("1.10"),
    datetime.datetime(2026, 5, 1, tzinfo=datetime.UTC),
    datetime.timedelta(1),
    collections.Counter("abca"),
    collections.OrderedDict(b=1, a=2),
    Q(name="ada"),
    frozenset({1}),
    2**100,
    -(2**63),
    2**63,
    1e400,
    "",
    b"",
    None,
    True,
    range(3),
    ValueError("x"),
    Path("x"),
    "\ud800",
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:40])
def test_a_value_comes_back_as_from_other_caches(caches: list[Any], value: Any) -> None:
    for cache in caches:
        cache.set("k", value)
    found, *others = [cache.get("k", "missing") for cache in caches]
    for other in others:
        assert type(found).__name__ == type(other).__name__
        assert repr(found) == repr(other)


def test_a_value_that_contains_itself(caches: list[Any]) -> None:
    value: list[Any] = [1]
    value.append(value)
    for cache in caches:
        cache.set("k", value)
        found = cache.get("k")
        assert found[1] is found


@pytest.mark.django_db
def test_models_and_querysets(caches: list[Any]) -> None:
    user = User.objects.create(username="ada")
    Group.objects.create(name="staff")
    for cache in caches:
        cache.set_many({"user": user, "groups": Group.objects.all()})
        assert cache.get("user") == user
        assert [group.name for group in cache.get("groups")] == ["staff"]


@pytest.mark.parametrize("key", ["with space", "with\nnewline", "k" * 300, "ü☃", "", "*[a]?\\"])
def test_keys_that_memcached_refuses(backend: Topology, key: str) -> None:
    cache = make_cache(backend)
    if key in ("ü☃", "", "*[a]?\\"):
        cache.set(key, 1)
        assert cache.get(key) == 1
        return
    with pytest.warns(CacheKeyWarning):
        cache.set(key, [1])
    with pytest.warns(CacheKeyWarning):
        assert cache.get(key) == [1]


def test_a_value_too_large_for_redis_is_a_miss_and_no_outage() -> None:
    with Topology(lines=["proto-max-bulk-len 2mb"]) as backend:
        cache = make_cache(backend)
        cache.set("small", 1)
        for value in ("x" * 60_000_000, "x" * 1_900_000):
            cache.set("large", value)
            assert cache.get("large") == (None if len(value) > 2_000_000 else value)
            assert cache.get("small") == 1
            assert not cache.client.breaker.is_open
        with pytest.raises(Unavailable, match="did not accept a value of 60,000,"):
            cache.strict.set_many({"other": 1, "large": "x" * 60_000_000})
        assert not cache.client.breaker.is_open
        backend.primary.kill()
        cache.set("large", "x" * 3_000_000)
        assert cache.client.breaker.is_open


def test_three_frames(backend: Topology, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cached `get` crosses at most three frames of this library."""
    cache: RedisCache = make_cache(backend)
    cache.get("k")  # asks, once a second, whether another process has cleared the cache
    frames = []

    def get_connection() -> None:
        frames.extend(f.filename for f in inspect.stack() if "/outlast/src" in f.filename
                      or "src/outlast/" in f.filename)  # fmt: skip
        raise Unavailable

    monkeypatch.setattr(cache.client.connection_pool, "get_connection", get_connection)
    cache.get("k")
    assert len(frames) == 3
