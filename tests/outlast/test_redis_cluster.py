"""The cache on a Redis Cluster of three primaries and three replicas."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from caches import forget_clients
from outlast.cache import RedisCache, Unavailable
from outlast.servers import Topology, reserve_port, wait_until

pytestmark = pytest.mark.slow

LAST = 16383  # of the slots


@pytest.fixture
def nodes() -> Iterator[list[Topology]]:
    """Three primaries, then the replica of each."""
    with ExitStack() as stack:
        nodes = []
        for _ in range(6):
            with reserve_port() as bus:
                port = bus.getsockname()[1]
            lines = ["cluster-enabled yes", "cluster-node-timeout 1000", f"cluster-port {port}",
                     "repl-diskless-sync-delay 0"]  # fmt: skip
            nodes.append(stack.enter_context(Topology(lines=lines)))
        clients = [node.primary.client() for node in nodes]
        for number, client in enumerate(clients[:3]):
            first, end = number * LAST // 3 + (number > 0), (number + 1) * LAST // 3
            client.execute_command("CLUSTER ADDSLOTSRANGE", first, end)
        for node, client in zip(nodes, clients, strict=True):
            bus = client.config_get("cluster-port")["cluster-port"]
            clients[0].execute_command("CLUSTER MEET", "127.0.0.1", node.primary.port, bus)
        ids = [client.execute_command("CLUSTER MYID") for client in clients[:3]]
        for primary, client in zip(ids, clients[3:], strict=True):
            wait_until(lambda c=client, p=primary: p in str(c.cluster("nodes")), "nodes to meet")
            client.execute_command("CLUSTER REPLICATE", primary)
        for client in clients:
            wait_until(lambda c=client: "'cluster_state': 'ok'" in str(c.cluster("info")), "it")
        for client in clients[3:]:
            wait_until(
                lambda c=client: c.info("replication")["master_link_status"] == "up", "replicas"
            )
        yield nodes


@pytest.fixture
def cache(nodes: list[Topology]) -> RedisCache:
    forget_clients()
    return cache_of(nodes)


def cache_of(nodes: list[Topology]) -> RedisCache:
    locations = [f"redis://127.0.0.1:{node.primary.port}" for node in nodes]
    return RedisCache(locations, {"KEY_PREFIX": "site", "OPTIONS": {"cluster": True}})


def test_the_whole_api_across_slots(cache: RedisCache, nodes: list[Topology]) -> None:
    values: dict[str, Any] = {f"k{n}": {"n": n} for n in range(100)}
    assert cache.set_many(values, timeout=60) == []
    assert cache.get_many([*values, "missing"]) == values
    sizes = [node.primary.client().dbsize() for node in nodes[:3]]
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
    other = RedisCache(cache._servers, {"KEY_PREFIX": "other", "OPTIONS": {"cluster": True}})
    other.set_many(values)
    assert cache.clear()
    assert cache.get_many([*values, "n"]) == {}
    assert other.get_many(values) == values


def test_a_primary_is_killed(cache: RedisCache, nodes: list[Topology]) -> None:
    keys = [f"k{n}" for n in range(30)]
    cache.set_many(dict.fromkeys(keys, 1))
    nodes[0].primary.kill()
    began, slowest = time.monotonic(), 0.0

    def is_back() -> bool:
        nonlocal slowest
        started = time.monotonic()
        failed = cache.set_many(dict.fromkeys(keys, 2))
        slowest = max(slowest, time.monotonic() - started)
        return not failed and cache.get_many(keys) == dict.fromkeys(keys, 2)

    wait_until(is_back, "the cache to be back", 30)
    assert time.monotonic() - began < 15  # 2 s on a quiet machine
    assert slowest < 2


def test_a_planned_failover(cache: RedisCache, nodes: list[Topology]) -> None:
    cache.set("k", 1)
    nodes[3].primary.client().execute_command("CLUSTER FAILOVER")
    for n in range(100):
        cache.set_many({f"k{n}": n for n in range(10)})
        time.sleep(0.01)
    wait_until(lambda: cache.set_many({f"k{n}": n for n in range(30)}) == [], "all to be stored")


def test_all_nodes_are_dead(cache: RedisCache, nodes: list[Topology]) -> None:
    cache.set("k", 1)
    for node in nodes:
        node.primary.kill()
    for some in (cache, cache_of(nodes[:1])):
        assert some.get("k") is None
        assert some.set_many({"a": 1, "b": 2}) == ["a", "b"]
        assert some.get_many("ab") == {}
        assert not some.clear()
        with pytest.raises(Unavailable, match="at cluster"):
            some.strict.get("k")
