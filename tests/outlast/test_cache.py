"""The cache while Redis works: Django's whole API, signed values, one prefix."""

import asyncio
import inspect
import logging
import pickle
import threading
from typing import Any

import pytest
from caches import forget_clients, location, make_cache, make_cache_at
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.http import HttpRequest, HttpResponse
from django.template import engines
from django.test import RequestFactory
from django.views.decorators.cache import cache_page
from outlast.cache import RedisCache
from outlast.redis import values
from redis import Redis
from redis.exceptions import ResponseError

from tests.servers import Topology


def test_one_value(cache: RedisCache) -> None:
    assert cache.get("k") is None
    assert cache.get("k", "default") == "default"
    cache.set("k", {"a": [1]})
    assert cache.get("k") == {"a": [1]}
    assert "k" in cache
    assert not cache.add("k", 2)
    assert cache.delete("k")
    assert not cache.delete("k")
    assert not cache.has_key("k")
    assert cache.add("k", 2)
    assert cache.get("k", version=2) is None
    assert cache.get_or_set("k", 3) == 2
    assert cache.get_or_set("other", lambda: 3) == 3
    cache.set("none", None)
    assert cache.get("none", "default") is None
    assert cache.get_or_set("none", 1) is None


def test_numbers(cache: RedisCache) -> None:
    cache.set("n", 1)
    assert cache.incr("n") == 2
    assert cache.decr("n", 5) == -3
    assert cache.get("n") == -3
    with pytest.raises(ValueError, match="'site:1:missing' not found"):
        cache.incr("missing")
    cache.set("n", 2**62)
    with pytest.raises(ResponseError, match="overflow"):
        cache.incr("n", 2**62)
    assert cache.get("n") == 2**62  # a counter of the site is not lost
    for value, delta in ((-(2**63), 1), (2**63 - 1, -1)):
        cache.set("n", value)
        assert cache.incr("n", delta) == value + delta
    for value in ("text", 1.5, 2**70, True):
        cache.set("n", value)
        assert cache.get("n") == value
        with pytest.raises(ResponseError):  # as Django's
            cache.incr("n")
    assert not cache.client.breaker.is_open


def test_methods_have_the_names_of_djangos(cache: RedisCache) -> None:
    """Debug toolbars and tracing show them; and packages ask for the client."""
    assert isinstance(cache._cache.get_client(), Redis)
    for name, _ in inspect.getmembers(BaseCache, inspect.isfunction):
        assert getattr(cache, name).__name__ == name


def test_versions(cache: RedisCache) -> None:
    cache.set("k", "v")
    assert cache.incr_version("k") == 2
    assert cache.get("k") is None
    assert cache.get("k", version=2) == "v"


def test_many_values(cache: RedisCache, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:  # they are sent together
        patch.setattr(cache.client, "set", None)
        assert cache.set_many({"a": 1, "b": [2]}) == []
    assert cache.get_many(["a", "b", "c"]) == {"a": 1, "b": [2]}
    assert cache.get_many(key for key in "ab") == {"a": 1, "b": [2]}
    assert cache.get_many([]) == {}
    cache.delete_many(["a", "c"])
    assert cache.get_many(["a", "b"]) == {"b": [2]}
    assert cache.set_many({}) == []


def test_times(cache: RedisCache, backend: Topology) -> None:
    ttl = backend.primary.client().ttl
    cache.set("k", 1)
    assert 290 < ttl("site:1:k") <= 300  # Django's default
    cache.set("k", 1, timeout=None)
    assert ttl("site:1:k") == -1
    assert cache.touch("k", 60)
    assert 50 < ttl("site:1:k") <= 60
    assert not cache.touch("missing")
    cache.set_many({"k": 1, "l": 2}, timeout=70)
    assert 60 < ttl("site:1:k") <= 70
    cache.set_many({"k": 1}, timeout=None)
    assert ttl("site:1:k") == -1
    cache.set_many({"k": 1}, timeout=0)
    cache.set("l", 1, timeout=-1)
    assert cache.get_many(["k", "l"]) == {}


def test_asynchronous_variants(cache: RedisCache) -> None:
    async def use() -> None:
        await cache.aset("k", 1)
        assert await cache.aget("k") == 1
        assert not await cache.aadd("k", 2)
        assert await cache.atouch("k", 60)
        assert await cache.ahas_key("k")
        assert await cache.aincr("k") == 2
        assert await cache.adecr("k") == 1
        assert await cache.aset_many({"a": 1, "b": 2}) == []
        assert await cache.aget_many(["a", "b"]) == {"a": 1, "b": 2}
        await cache.adelete_many(["a"])
        assert await cache.aget_or_set("a", lambda: 3) == 3
        assert await cache.aincr_version("a") == 2
        assert await cache.adelete("k")
        assert await cache.aclear()
        assert await cache.aget_many("kab") == {}

    asyncio.run(use())


def test_no_count_is_lost_between_tasks(backend: Topology) -> None:
    # On a busy machine 50 threads may take longer than the usual timeout.
    cache = make_cache(backend, socket_timeout=10, socket_connect_timeout=10)

    async def use() -> None:
        await cache.aset("n", 0, timeout=60)
        await asyncio.gather(*(cache.aincr("n") for _ in range(50)))

    asyncio.run(use())
    assert cache.get("n") == 50


def test_what_cannot_be_pickled_is_an_error_also_without_redis(cache: RedisCache) -> None:
    elsewhere = make_cache_at("redis://127.0.0.1:1/0")
    for some in (cache, elsewhere, cache.strict):
        for value in (lambda: 1, threading.Lock(), iter(lambda: 1, 2)):
            with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
                some.set("k", value)
            with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
                some.set_many({"k": value})
            with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
                some.add("k", value)
    assert cache.get("k") is None


def test_reads_are_counted_for_what_they_gave(
    cache: RedisCache, backend: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[str] = []
    monkeypatch.setattr(values, "count_read", counted.append)
    backend.primary.client().set("site:1:k", "foreign")
    cache.get("k")
    cache.get("k")
    cache.set("k", 1)
    cache.get_many("kl")
    assert counted == ["miss", "miss", "hit", "miss"]


@pytest.mark.parametrize("prefix", ["site", "a*", ""])
def test_clear_leaves_the_other_site_alone(
    backend: Topology, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.primary.client().flushall()
    others = [make_cache(backend, other) for other in ("site2", "sit", "ab", "a", "ax")]
    for other in others:
        other.set("k", 1)
    cache = make_cache(backend, prefix)
    for _ in range(2):
        cache.set("k", 1, version=7)
        assert cache.clear()
        assert cache.get("k", version=7) is None
    assert [other.get("k") for other in others] == [1] * len(others)
    # Other processes follow, and ignore what others put in its place.
    cache.set("k", 2)
    forget_clients()
    assert make_cache(backend, prefix).get("k") == 2
    monkeypatch.setattr(values, "CLEARED_SECONDS", 0)
    for planted in (b"\xff", b"-1", b"9" * 20, b""):
        backend.primary.client().set(f"{prefix}:generation", planted)
        assert make_cache(backend, prefix).make_key("k") == f"{prefix}:1:k"


def test_pages_and_fragments(settings: Any, backend: Topology) -> None:
    url, options = location(backend)
    backend = "outlast.cache.RedisCache"
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": url, "OPTIONS": options}}
    caches["default"].clear()
    calls = []

    @cache_page(60)
    def view(request: HttpRequest) -> HttpResponse:
        calls.append(request)
        return HttpResponse(f"<p>{len(calls)} ☃", headers={"Vary": "Accept", "X-Some": "1"})

    first, second = (view(RequestFactory().get("/page")) for _ in range(2))
    assert len(calls) == 1
    assert second.content == first.content == "<p>1 ☃".encode()
    assert second["X-Some"] == "1"
    assert view(RequestFactory().get("/page", headers={"accept": "x"})).content != first.content

    template = engines["django"].from_string(
        "{% load cache %}{% cache 60 part %}<b>{{ value }}</b>{% endcache %}"
    )
    assert template.render({"value": "<1>"}) == "<b>&lt;1&gt;</b>"
    assert template.render({"value": "<2>"}) == "<b>&lt;1&gt;</b>"


def test_nothing_is_logged_while_redis_works(
    cache: RedisCache, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        cache.set("k", 1)
        cache.get("k")
    assert not caplog.records
