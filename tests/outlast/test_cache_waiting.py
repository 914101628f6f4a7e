"""How long callers wait for a failing Redis: not at all, or a quarter of a second."""

import asyncio
import functools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from caches import make_cache
from outlast.cache import RedisCache, Unavailable
from outlast.redis import breaker

from tests.servers import Topology, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _short_cooldown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker, "COOLDOWN", 0.3)


@pytest.fixture
def backend() -> Iterator[Topology]:
    with Topology() as topology:
        yield topology


def timed(function: Callable[[], Any]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def test_while_it_hangs_few_wait_and_none_for_long(
    backend: Topology, cache: RedisCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the first callers wait, and later one caller at a time."""
    together, waited = threading.Barrier(100), []
    fail = cache.client.breaker.record_failure

    def count_and_fail(error: BaseException | None) -> Unavailable:
        waited.append(error)
        return fail(error)

    def request(_: int) -> list[float]:
        together.wait()
        return [timed(functools.partial(make_cache(backend).get, "kept")) for _ in range(5)]

    monkeypatch.setattr(cache.client.breaker, "record_failure", count_and_fail)
    backend.primary.pause()
    started = time.perf_counter()
    with ThreadPoolExecutor(100) as pool:
        waits = [wait for some in pool.map(request, range(100)) for wait in some]
    assert time.perf_counter() - started < 5  # one after the other they would wait 25 s
    assert max(waits) < 2
    assert 1 <= len(waited) <= 110 < len(waits)


def test_while_it_hangs_the_event_loop_goes_on(backend: Topology) -> None:
    slow = make_cache(backend, socket_timeout=5)
    longest = 0.0

    async def use() -> None:
        nonlocal longest
        getting = asyncio.gather(*(slow.aget("kept") for _ in range(100)))
        for _ in range(50):
            started = time.perf_counter()
            await asyncio.sleep(0.01)
            longest = max(longest, time.perf_counter() - started)
        backend.primary.resume()
        await getting

    slow.get("kept")
    backend.primary.pause()
    asyncio.run(use())
    assert longest < 2


def test_while_it_hangs_the_thread_of_the_database_goes_on(backend: Topology) -> None:
    """asgiref has one such thread for all WebSockets; Django's `aget` would block it."""
    slow = make_cache(backend, socket_timeout=5)

    async def use() -> None:
        getting = asyncio.create_task(slow.aget("kept"))
        await asyncio.sleep(0.1)
        await sync_to_async(lambda: None)()
        assert not getting.done()
        backend.primary.resume()
        await getting

    slow.get("kept")
    backend.primary.pause()
    asyncio.run(use())


def test_callers_do_not_wait_for_each_other(backend: Topology, cache: RedisCache) -> None:
    """20 who each wait 0.5 s for a slow server take as long as one."""
    slow = make_cache(backend, socket_timeout=5)
    slow.get("kept")
    backend.primary.client().client_pause(500)
    with ThreadPoolExecutor(20) as pool:
        took = timed(lambda: list(pool.map(lambda _: slow.get("kept"), range(20))))
    assert took < 5


def test_too_many_own_connections_do_not_open_the_breaker(
    backend: Topology, caplog: pytest.LogCaptureFixture
) -> None:
    cache = make_cache(backend, max_connections=2, socket_timeout=5)
    cache.set("kept", 1)
    backend.primary.client().client_pause(200)
    with ThreadPoolExecutor(10) as pool:
        found = list(pool.map(lambda _: cache.get("kept"), range(10)))
    assert sorted(map(str, found)) == ["1"] * 2 + ["None"] * 8
    assert cache.client.breaker.reason == ""
    assert cache.get("kept") == 1
    assert len(caplog.messages) == 1
    assert "raise max_connections" in caplog.text


def test_connections_that_lead_nowhere_are_noticed_once(
    backend: Topology, cache: RedisCache, caplog: pytest.LogCaptureFixture
) -> None:
    """As when a firewall drops idle connections: each would cost a timeout and an outage."""
    together = threading.Barrier(10)

    def hold(_: int) -> None:
        connection = cache.client.connection_pool.get_connection()
        together.wait()
        cache.client.connection_pool.release(connection)

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(hold, range(10)))
    backend.primary.pause()
    assert cache.get("kept") is None
    backend.primary.resume()
    wait_until(lambda: cache.get("kept") == "value", "the cache to be used again")
    idle = cache.client.connection_pool._available_connections
    assert sum(connection.is_connected for connection in idle) == 1
    assert len(caplog.messages) == 2


def test_a_command_is_tried_once(backend: Topology, cache: RedisCache) -> None:
    def opened() -> int:
        return int(client.info("stats")["total_connections_received"])

    client = backend.primary.client(single_connection_client=True)
    before = opened()
    backend.primary.pause()
    assert cache.get("kept") is None
    backend.primary.resume()
    assert opened() == before
