"""The cache on a Redis Cluster of three primaries and three replicas."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from caches import forget_clients
from outlast.cache import RedisCache, Unavailable
from outlast.health import redis, runner
from outlast.redis.cluster import ClusterClient
from redis.cluster import NodesManager

from tests.servers import Server, Topology, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def cluster() -> Iterator[Topology]:
    with Topology(1, shards=3) as topology:
        yield topology


@pytest.fixture
def cache(cluster: Topology) -> RedisCache:
    forget_clients()
    return cache_of(cluster.servers)


def cache_of(nodes: list[Server], prefix: str = "site") -> RedisCache:
    locations = [f"redis://127.0.0.1:{node.port}" for node in nodes]
    return RedisCache(locations, {"KEY_PREFIX": prefix, "OPTIONS": {"cluster": True}})


def test_the_whole_api_across_slots(cache: RedisCache, cluster: Topology) -> None:
    values: dict[str, Any] = {f"k{n}": {"n": n} for n in range(100)}
    assert cache.set_many(values, timeout=60) == []
    assert cache.get_many([*values, "missing"]) == values
    sizes = [node.client().dbsize() for node in cluster.primaries]
    assert min(sizes) > 10
    assert cache.get("k7") == {"n": 7}
    assert cache.add("k7", 1) is False
    assert cache.touch("k7", 60)
    assert cache.has_key("k7")
    assert cache.delete("k7")
    cache.set("n", 1)
    assert cache.incr("n") == 2
    with pytest.raises(ValueError, match="not found"):
        cache.incr("missing")
    cache.delete_many([f"k{n}" for n in range(50)])
    assert len(cache.get_many(values)) == 50
    other = cache_of(cluster.servers, "other")
    other.set_many(values)
    assert cache.clear()
    assert cache.get_many([*values, "n"]) == {}
    assert other.get_many(values) == values


def works(cache: RedisCache) -> bool:
    """Whether values on all nodes are written and read."""
    values = {f"k{n}": time.monotonic() for n in range(30)}
    return cache.set_many(values) == [] and cache.get_many(values) == values


def killed(cluster: Topology) -> None:
    cluster.primary.kill()


def hung(cluster: Topology) -> None:
    cluster.primary.pause()


def planned(cluster: Topology) -> None:
    cluster.servers[3].client().execute_command("CLUSTER FAILOVER")


@pytest.mark.parametrize("fault", [killed, hung, planned])
def test_a_failover(
    fault: Callable[[Topology], None], cache: RedisCache, cluster: Topology
) -> None:
    wait_until(lambda: works(cache), "the cache to be used")
    old = cluster.primary
    fault(cluster)
    assert cluster.wait_failover(old) is cluster.servers[3]
    wait_until(lambda: works(cache), "the cache to be back", 10)


@pytest.mark.parametrize("end", [Server.kill, Server.pause])
def test_all_nodes_are_away(
    end: Callable[[Server], None], cache: RedisCache, cluster: Topology
) -> None:
    wait_until(lambda: works(cache), "the cache to be used")
    for node in cluster.servers:
        end(node)
    forgetful = cache_of(cluster.servers[:1])  # has a client of its own, which never connected
    for some in (cache, forgetful):
        assert some.get("k") is None
        assert some.set_many({"a": 1, "b": 2}) == ["a", "b"]
        assert some.get_many("ab") == {}
        assert not some.clear()
        with pytest.raises(Unavailable, match="at cluster"):
            some.strict.get("k")
    for node in cluster.servers:
        node.resume() if node.paused else node.start(wait=False)
    cluster.wait_ready()
    for some in (cache, forgetful):
        wait_until(lambda cache=some: works(cache), "the cache to be back", 20)


def test_callers_wait_for_the_first_connection_once(
    cluster: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_clients()
    hangs = threading.Event()
    monkeypatch.setattr(ClusterClient, "_connect", lambda self: hangs.wait(20))
    cache = cache_of(cluster.servers)
    started = time.monotonic()
    assert [cache.get("k") for _ in range(5)] == [None] * 5
    assert time.monotonic() - started < 3  # not five times CONNECT_SECONDS
    hangs.set()


def test_no_caller_waits_for_all_nodes(
    cache: RedisCache, cluster: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failure redis-py asks each node for the slots; that command is not repeated."""
    asked, hangs, ask = threading.Event(), threading.Event(), NodesManager.initialize

    def initialize(self: NodesManager, *args: Any, **options: Any) -> None:
        if "last_failed_node_name" in options:
            asked.set()
            hangs.wait(20)
        ask(self, *args, **options)

    monkeypatch.setattr(NodesManager, "initialize", initialize)
    monkeypatch.setattr("outlast.redis.cluster.TIMEOUT", 20)
    wait_until(lambda: works(cache), "the cache to be used")
    for node in cluster.servers:
        node.pause()
    started = time.monotonic()
    assert cache.get("k") is None
    assert asked.wait(5)
    assert time.monotonic() - started < 10
    hangs.set()


@pytest.mark.parametrize("paused", [1, 6])
def test_many_keys_cost_no_more_than_a_few(
    paused: int, cache: RedisCache, cluster: Topology
) -> None:
    """redis-py repeats a batch key by key, and waits for each."""
    wait_until(lambda: works(cache), "the cache to be used")
    for node in cluster.servers[:paused]:
        node.pause()
    keys = [f"k{number}" for number in range(120)]
    for call in (cache.get_many, lambda keys: cache.set_many(dict.fromkeys(keys, 1))):
        started = time.monotonic()
        assert set(call(keys)) <= set(keys)
        assert time.monotonic() - started < 2.5  # 40 keys of one node: 10 s
        cache._cache.redis.breaker.reason = ""  # so that the second call is tried as well


def test_the_doctor_explains_nodes_that_all_hang_in_time(
    use_cache: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_runs", {})
    with ExitStack() as stack:
        nodes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
        ports = [node.getsockname()[1] for node in nodes]
        use_cache([f"redis://127.0.0.1:{port}/0" for port in ports], cluster=True)
        (finding,) = runner.run_probes(redis.services(3), 2.5)
    assert "does not answer" in finding.text
    assert finding.remedies
