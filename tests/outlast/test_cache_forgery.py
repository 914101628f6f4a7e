"""A client that may write anything to Redis neither runs code nor moves a value."""

import os
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
from caches import make_cache
from outlast.cache import RedisCache
from outlast.redis.values import MAC_SIZE
from redis import Redis
from redis.exceptions import ResponseError

from tests.servers import Topology


@pytest.fixture(scope="module")
def server() -> Iterator[Topology]:
    with Topology() as topology:
        yield topology


@pytest.fixture
def redis(server: Topology) -> Redis:
    client = Redis(port=server.primary.port)
    client.flushall()
    return client


@pytest.fixture
def cache(redis: Redis, server: Topology) -> RedisCache:
    return make_cache(server)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os._exit, (99,))


BOMB = pickle.dumps(Bomb())


def stored(redis: Redis, key: str) -> bytes:
    found = redis.get(f"site:1:{key}")
    assert isinstance(found, bytes)
    return found


def plant(redis: Redis, key: str, value: Any) -> None:
    redis.delete(f"site:1:{key}")
    if isinstance(value, list):
        redis.rpush(f"site:1:{key}", *value)
    else:
        redis.set(f"site:1:{key}", value)


@pytest.mark.parametrize(
    "value",
    [
        BOMB,
        bytes(MAC_SIZE) + BOMB,
        b"",
        b"-",
        b" 12",
        b"1_000",
        b"{}",
        b"1.5",
        b"012",
        b"-0",
        b"9" * 20,
        str(2**63).encode(),
        str(-(2**63) - 1).encode(),
        b"9" * 21,
        b"x" * MAC_SIZE,
        b"x" * 1_000_000,
        "\N{SUPERSCRIPT TWO}".encode(),
        ["a", "list"],
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_others_write_is_a_miss_and_removed(
    cache: RedisCache, redis: Redis, caplog: pytest.LogCaptureFixture, value: Any
) -> None:
    plant(redis, "secret-key", value)
    assert cache.get("secret-key", "default") == "default"
    assert "Deleted a value from the cache that this site did not write" in caplog.text
    assert "secret-key" not in caplog.text
    assert str(value) not in caplog.text or not value
    assert cache.add("secret-key", 1)
    for count in (cache.incr, cache.decr):
        plant(redis, "secret-key", value)
        with pytest.raises(ValueError, match="not found"):
            count("secret-key")
        assert cache.add("secret-key", 1)
    plant(redis, "secret-key", value)
    assert cache.get_many(["secret-key"]) == {}
    assert not cache.client.breaker.is_open


def test_a_value_is_valid_under_its_own_key_only(cache: RedisCache, redis: Redis) -> None:
    cache.set("role:ada", "admin")
    for other in ("role:eve", "role:ad", "role:adaa"):
        plant(redis, other, stored(redis, "role:ada"))
        assert cache.get(other) is None
    redis.rename("site:1:role:ada", "site:2:role:ada")
    assert cache.get("role:ada", version=2) is None


class Text:
    """A serializer whose payloads can be cut anywhere, unlike pickles."""

    def dumps(self, value: str) -> str:
        return value

    def loads(self, data: bytes) -> str:
        return data.decode()


def test_a_letter_cannot_be_moved_between_key_and_value(server: Topology, redis: Redis) -> None:
    cache = make_cache(server, serializer=Text)
    cache.set("k", "value that is long enough")
    right = stored(redis, "k")
    plant(redis, "kv", right[:MAC_SIZE] + right[MAC_SIZE + 1 :])
    assert cache.get("kv") is None
    assert cache.get("k") == "value that is long enough"


def test_a_changed_value_is_a_miss(cache: RedisCache, redis: Redis) -> None:
    cache.set("k", "value")
    right = stored(redis, "k")
    changed = [right[:n] + bytes([right[n] ^ 1]) + right[n + 1 :] for n in range(len(right))]
    for wrong in (*changed, *(right[:n] for n in range(len(right))), right + b"."):
        plant(redis, "k", wrong)
        assert cache.get("k") is None
    plant(redis, "k", right)
    assert cache.get("k") == "value"


def test_another_secret_key_signs_nothing_here(
    cache: RedisCache, settings: Any, server: Topology
) -> None:
    settings.SECRET_KEY = "of another site"
    make_cache(server).set("k", "theirs")
    settings.SECRET_KEY = "ours"
    assert cache.get("k") is None
    cache.set("k", "ours")
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "next", ["older", "ours"]
    assert cache.get("k") == "ours"
    assert cache.get_many(["k"]) == {"k": "ours"}
    settings.SECRET_KEY_FALLBACKS = []
    assert cache.get("k") is None


def test_another_use_of_secret_key_signs_nothing_here(
    cache: RedisCache, redis: Redis, settings: Any
) -> None:
    """What a page lets people have signed, in a cookie for example, is no cache value."""
    import hmac

    for key in (settings.SECRET_KEY, "outlast.cache" + settings.SECRET_KEY):
        plant(redis, "k", hmac.digest(key.encode(), b"8:site:1:k" + BOMB, "sha256") + BOMB)
        assert cache.get("k") is None


def test_numbers_are_not_signed_and_say_so(cache: RedisCache, redis: Redis) -> None:
    """The limit of the promise, as docs/security.md states it."""
    cache.set("n", 1)
    plant(redis, "n", b"41")
    assert cache.incr("n") == 42
    assert cache.get("n") == 42
    for delta in (1, 2**62 - 1):
        plant(redis, "n", 2**63 - 1)
        with pytest.raises(ValueError, match="not found"):
            cache.incr("n", delta)
    cache.set("text", "of this site")
    plant(redis, "text", b"1")
    assert cache.get("text") == 1


def test_counting_keeps_a_value_of_this_site_that_is_no_number(cache: RedisCache) -> None:
    cache.set("text", "of this site")
    with pytest.raises(ResponseError):
        cache.incr("text")
    assert cache.get("text") == "of this site"
