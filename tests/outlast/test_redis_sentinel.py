"""The cache behind Sentinels: only the primary is used, whichever server hangs."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from caches import address_of, asked_first, forget_clients, make_cache, pool_of
from outlast.addresses import read_address
from outlast.cache import RedisCache, Unavailable
from outlast.redis import Client, connections, make_client
from redis import Redis

from tests.servers import SERVICE, Server, Topology, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def healthy() -> Iterator[Topology]:
    """For tests that stop no server and do not move the primary."""
    with Topology(replicas=1, sentinels=3) as topology:
        yield topology


@pytest.fixture
def servers(healthy: Topology) -> Iterator[Topology]:
    yield healthy
    for some in healthy.sentinels:
        if some.paused:
            some.resume()
        elif not some.running:
            some.start()
    healthy.wait_ready()


@pytest.fixture
def cache(servers: Topology) -> RedisCache:
    """A cache that has been used, with a value in it; each test has a client of its own."""
    forget_clients()
    cache = make_cache(servers)
    cache.set("k", "kept")
    assert cache.get("k") == "kept"
    return cache


def client_of(url: str, sentinels: list[tuple[str, int]], **options: Any) -> Client:
    return make_client(read_address(url, {"sentinels": sentinels, **options}), "canary")


def name(cache: RedisCache, address: tuple[str, int]) -> None:
    """Let the Sentinels name this address as the primary, for some seconds."""
    sentinels = pool_of(cache).sentinel_manager
    sentinels.primary, sentinels.ask_at = address, time.monotonic() + 5
    pool_of(cache).get_master_address()


def look(cache: RedisCache) -> float:
    """Let the next use of the cache ask the Sentinels; return how long it took."""
    pool_of(cache).sentinel_manager.ask_at = 0
    started = time.perf_counter()
    assert cache.get("k") == "kept"
    return time.perf_counter() - started


def test_the_primary_and_never_a_replica(servers: Topology, cache: RedisCache) -> None:
    primary, replica = servers.servers
    before = replica.client().info("stats")["total_connections_received"]
    for _ in range(50):
        cache.set("k", "kept")
        cache.get("k")
        cache.get_many(["k"])
    assert pool_of(cache).master_address == address_of(primary)
    after = replica.client().info("stats")["total_connections_received"]
    assert after - before <= 4  # of its Sentinels and of this test


def test_a_replica_that_is_called_primary_is_refused(servers: Topology, cache: RedisCache) -> None:
    name(cache, address_of(servers.servers[1]))
    assert cache.get("k") is None
    with pytest.raises(Unavailable, match="is a replica now"):
        cache.strict.get("k")


def test_a_connection_to_a_former_primary_ends_with_its_use(
    servers: Topology, cache: RedisCache
) -> None:
    pool = pool_of(cache)
    idle, used = pool.get_connection(), pool.get_connection()
    pool.release(idle)
    name(cache, ("127.0.0.1", 1))
    assert not idle.is_connected
    assert used.is_connected
    pool.release(used)
    assert not used.is_connected
    assert used not in pool._available_connections
    name(cache, address_of(servers.servers[0]))
    assert cache.get("k") == "kept"


def test_sentinels_are_asked_once_in_a_while(
    servers: Topology, cache: RedisCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    sentinels, asked = pool_of(cache).sentinel_manager, []
    ask = connections.Sentinel.discover_master
    monkeypatch.setattr(
        connections.Sentinel, "discover_master", lambda *args: asked.append(1) or ask(*args)
    )
    look(cache)
    threads = [
        threading.Thread(target=lambda: [cache.get("k") for _ in range(50)]) for _ in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 <= len(asked) <= 2
    sentinels.ask_at -= connections.SENTINEL_INTERVAL
    cache.get("k")
    assert 2 <= len(asked) <= 3


def test_a_dead_sentinel_costs_nothing(servers: Topology, cache: RedisCache) -> None:
    first = asked_first(cache, servers)
    first.kill()
    assert look(cache) < 2
    assert asked_first(cache, servers) is not first


def test_a_hung_sentinel_is_waited_for_once(servers: Topology, cache: RedisCache) -> None:
    first = asked_first(cache, servers)
    first.pause()
    assert 0.05 < look(cache) < 2
    assert asked_first(cache, servers) is not first


@pytest.mark.parametrize("fault", [Server.kill, Server.pause])
def test_without_any_sentinel_the_primary_that_is_known_goes_on(
    servers: Topology,
    cache: RedisCache,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    fault: Callable[[Server], None],
) -> None:
    monkeypatch.setattr(connections, "SENTINEL_INTERVAL", 0.1)
    for some in servers.sentinels:
        fault(some)
    waits = []
    started = time.monotonic()
    while time.monotonic() - started < 1:
        before = time.perf_counter()
        cache.set("k", "still")
        assert cache.get("k") == "still"
        waits.append(time.perf_counter() - before)
        time.sleep(0.01)
    assert max(waits) < 2
    assert not caplog.messages


def test_while_one_waits_for_a_hung_sentinel_others_go_on(servers: Topology) -> None:
    cache = make_cache(servers, sentinel_kwargs={"socket_timeout": 5})
    cache.set("k", "kept")
    for some in servers.sentinels:
        some.pause()
    sentinels = pool_of(cache).sentinel_manager
    sentinels.ask_at = 0
    asking = threading.Thread(target=cache.get, args=("k",))
    asking.start()
    wait_until(lambda: sentinels.ask_at, "a Sentinel to ask")
    assert cache.get("k") == "kept"
    assert asking.is_alive()
    for some in servers.sentinels:
        some.resume()
    asking.join()


def test_no_sentinel_from_the_start(caplog: pytest.LogCaptureFixture) -> None:
    client = client_of("redis://mymaster/0", [("127.0.0.1", 1), ("127.0.0.1", 2)])
    with pytest.raises(Unavailable, match=r"mymaster \(Sentinels 127.0.0.1:1, 127.0.0.1:2\)"):
        client.get("k")
    with pytest.raises(Unavailable, match="No master found"):
        client.get("k")
    (message,) = caplog.messages
    assert " cannot be used: No master found for 'mymaster'. The site works" in message


def test_a_service_that_no_sentinel_knows(servers: Topology) -> None:
    addresses = [address_of(some) for some in servers.sentinels]
    client = client_of("redis://Other/0", addresses)
    with pytest.raises(Unavailable, match="No master found for 'Other'"):
        client.get("k")


def test_passwords_of_their_own() -> None:
    with Topology(
        sentinels=1, password="d@ta", sentinel_password="s3ntinel", lines=["databases 4"]
    ) as topology:
        cache = make_cache(topology)
        cache.set("k", 1)
        assert cache.get("k") == 1
        wrong = make_cache(topology, sentinel_kwargs={"password": "d@ta"})
        with pytest.raises(Unavailable, match="No master found") as caught:
            wrong.strict.get("k")
        assert not {"d@ta", "s3ntinel"} & set(str(caught.value).split())
        client = client_of(
            f"redis://:d%40ta@{SERVICE}/3",
            [address_of(topology.sentinels[0])],
            sentinel_kwargs={"password": "s3ntinel"},
        )
        client.set("k", 2)
        assert topology.primary.client(db=3).get("k") == "2"


def test_the_name_of_a_service_keeps_its_letters() -> None:
    client = client_of("redis://user:pass@MyMaster/0", [("127.0.0.1", 1)])
    assert "MyMaster" in repr(client.connection_pool)
    assert "pass" not in repr(client.connection_pool)
    assert isinstance(client, Redis)


def test_two_threads_that_ask_at_once_lose_no_sentinel(servers: Topology) -> None:
    manager: Any = pool_of(make_cache(servers)).sentinel_manager
    both = threading.Barrier(2, timeout=5)
    state = {"ip": "x", "port": 1, "is_master": True, "is_sdown": False, "is_odown": False}

    def answer() -> dict[str, Any]:
        both.wait()
        return {SERVICE: state | {"num-other-sentinels": 1}}

    idle, busy = (SimpleNamespace(sentinel_masters=each) for each in (dict, answer))
    manager.sentinels, manager.primary = [idle, busy], None
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(manager.discover_master, [SERVICE] * 2)) == [("x", 1)] * 2
    assert manager.sentinels == [busy, idle]
