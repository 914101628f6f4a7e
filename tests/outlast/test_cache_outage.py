"""The cache while Redis fails: quick misses, and one line in the log."""

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from caches import answering, make_cache, make_cache_at
from outlast.cache import RedisCache, Unavailable
from outlast.redis import breaker

from tests.servers import Topology, wait_until

pytestmark = pytest.mark.slow

HTTP = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture(autouse=True)
def _short_cooldown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker, "COOLDOWN", 0.3)


@pytest.fixture
def backend() -> Iterator[Topology]:
    with Topology() as topology:
        yield topology


def is_used_again(cache: RedisCache) -> bool:
    cache.set("again", 1)
    return cache.get("again") == 1


def assert_everything_is_a_miss(cache: RedisCache) -> None:
    assert cache.get("kept") is None
    assert cache.get("kept", "default") == "default"
    assert cache.get_many(["kept"]) == {}
    assert not cache.has_key("kept")
    assert cache.set("kept", 1) is None
    assert cache.set_many({"kept": 1, "l": 2}) == ["kept", "l"]
    assert not cache.add("kept", 1)
    assert not cache.touch("kept")
    assert not cache.delete("kept")
    assert cache.delete_many(["kept"]) is None
    assert cache.get_or_set("kept", lambda: 7) == 7
    assert not cache.clear()
    for count in (cache.incr, cache.decr, cache.incr_version):
        with pytest.raises(ValueError, match="not found"):
            count("kept")

    async def asynchronously() -> None:
        assert await cache.aget("kept", "default") == "default"
        assert await cache.aget_many(["kept"]) == {}
        assert await cache.aset_many({"kept": 1}) == ["kept"]
        assert await cache.aget_or_set("kept", lambda: 7) == 7
        with pytest.raises(ValueError, match="not found"):
            await cache.aincr("kept")

    asyncio.run(asynchronously())
    with pytest.raises(Unavailable, match="cannot be used"):
        cache.strict.get("kept")


# --- Faults: each breaks the server and returns a function that repairs it ---


def killed(backend: Topology) -> Callable[[], Any]:
    backend.primary.kill()
    return backend.primary.start


def hung(backend: Topology) -> Callable[[], Any]:
    backend.primary.pause()
    return backend.primary.resume


def full(backend: Topology) -> Callable[[], Any]:
    client = backend.primary.client()
    client.config_set("maxmemory", 1)
    return lambda: client.config_set("maxmemory", 0)


def read_only(backend: Topology) -> Callable[[], Any]:
    client = backend.primary.client()
    client.replicaof("127.0.0.1", 1)
    return lambda: client.replicaof("NO", "ONE")


def no_connection_to_spare(backend: Topology) -> Callable[[], Any]:
    client = backend.primary.client(single_connection_client=True)
    client.config_set("maxclients", 1)
    client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    return lambda: client.config_set("maxclients", 100)


def locked(backend: Topology) -> Callable[[], Any]:
    client = backend.primary.client(single_connection_client=True)
    client.config_set("requirepass", "changed")
    client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    return lambda: client.config_set("requirepass", "")


def forbidden(backend: Topology) -> Callable[[], Any]:
    client = backend.primary.client()
    client.acl_setuser("default", enabled=True, commands=["+@all", "-set"])
    return lambda: client.acl_setuser("default", enabled=True, commands=["+@all"])


FAULTS = [killed, hung, full, read_only, no_connection_to_spare, locked, forbidden]


@pytest.mark.parametrize("fault", FAULTS)
def test_fault(
    backend: Topology,
    cache: RedisCache,
    caplog: pytest.LogCaptureFixture,
    fault: Callable[[Topology], Callable[[], Any]],
) -> None:
    repair = fault(backend)
    cache.set("kept", "new")  # some of them are noticed by those who write
    assert_everything_is_a_miss(cache)
    assert len(caplog.messages) == 1
    time.sleep(breaker.COOLDOWN)  # and one more is sent to look
    assert_everything_is_a_miss(cache)
    repair()
    wait_until(lambda: is_used_again(cache), "the cache to be used again", 5)
    assert cache.client.breaker.reason == ""
    assert len(caplog.messages) == 2
    assert "is used again after" in caplog.messages[1]


def test_loading(caplog: pytest.LogCaptureFixture) -> None:
    # Half a millisecond for each key it reads from disk.
    lines = ["key-load-delay 500", "loading-process-events-interval-bytes 1024"]
    with Topology(lines=lines) as backend:
        cache = make_cache(backend)
        backend.primary.client().mset({f"key {n}": n for n in range(1500)})
        backend.primary.client().save()
        backend.primary.start(wait=False)
        wait_until(lambda: "LOADING" in loading(backend), "it to be loading")
        assert_everything_is_a_miss(cache)
        assert cache.client.breaker.reason
        wait_until(lambda: is_used_again(cache), "the cache to be used again", 15)
    assert len(caplog.messages) == 2


def loading(backend: Topology) -> str:
    try:
        backend.primary.client().get("kept")
    except Exception as error:
        return f"LOADING {error}" if "loading" in str(error) else str(error)
    return ""


def test_restarted_between_two_requests_is_not_even_noticed(
    backend: Topology, cache: RedisCache, caplog: pytest.LogCaptureFixture
) -> None:
    backend.primary.start()
    assert cache.get("kept") is None
    assert is_used_again(cache)
    assert not caplog.messages


@pytest.mark.parametrize(
    ("password", "url"),
    [
        ("right", "redis://127.0.0.1:{port}/0"),
        ("right", "redis://:wr0ng@127.0.0.1:{port}/0"),
        ("right", "redis://unknown:wr0ng@127.0.0.1:{port}/0"),
        ("", "redis://user:wr0ng@127.0.0.1:{port}/0"),
        ("", "redis://127.0.0.1:{port}/99"),
        ("", "rediss://:wr0ng@127.0.0.1:{port}/0"),
        ("", "unix:///nowhere/wr0ng.sock?password=wr0ngest"),
    ],
)
def test_wrong_settings(password: str, url: str, caplog: pytest.LogCaptureFixture) -> None:
    with Topology(password=password) as backend:
        cache = make_cache_at(url.format(port=backend.primary.port))
        assert_everything_is_a_miss(cache)
        time.sleep(breaker.COOLDOWN)
        assert_everything_is_a_miss(cache)
    assert len(caplog.messages) == 1
    assert not {"wr0ng", "wr0ngest"} & set(caplog.text.replace("'", " ").split())


OLD = b"-ERR unknown command `HELLO`, with args beginning with: `3`, `AUTH`, `user`, `wr0ng`, \r\n"


@pytest.mark.parametrize(
    "answer",
    [
        HTTP,
        OLD,
        b"",
        b"+OK\r\n",
        b":1\r\n",
        b"$-1\r\n",
        b"*0\r\n",
        b"%1\r\n$5\r\nproto\r\n:3\r\n",
        b"-\xff\xfe\r\n",
        b"-\r\n",
        b"-MISCONF disk\r\n",
        b"ERROR\r\n",
        b"\x00\x15\x03",
    ],
)
@pytest.mark.parametrize("greeting", [b"", b"220 mail.example.com\r\n", b"+OK POP3\r\n"])
@pytest.mark.parametrize("login", ["", "user:wr0ng@"])
def test_no_redis_at_all(
    answer: bytes, greeting: bytes, login: str, caplog: pytest.LogCaptureFixture
) -> None:
    with answering(answer, greeting) as port:
        cache = make_cache_at(f"redis://{login}127.0.0.1:{port}/0")
        cache.set("kept", 1)
        assert_everything_is_a_miss(cache)
    assert len(caplog.messages) == 1
    assert login not in caplog.text or not login
    assert ("wr0ng" in caplog.text) == (not login and answer is OLD and not greeting)
