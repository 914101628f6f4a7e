"""The channel layer on a Redis Cluster, while its nodes fail."""

import asyncio
from collections.abc import Iterator

import pytest
from layer_helpers import SEND_TIMEOUT, TOLERANCE, Traffic, run
from outlast.channels.redis import PubSubLayer

from tests.servers import Server, Topology

pytestmark = pytest.mark.slow


@pytest.fixture
def nodes() -> Iterator[list[Server]]:
    """Three primaries; no slot is moved when one fails, and messages need none."""
    with Topology(shards=3) as topology:
        yield topology.servers


def make_layer(nodes: list[Server]) -> PubSubLayer:
    addresses = [f"redis://127.0.0.1:{node.port}" for node in nodes]
    return PubSubLayer([{"address": addresses, "cluster": True}], "site")


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("fault", ["kill", "pause"])
def test_sockets_outlive_a_node(fault: str, number: int, nodes: list[Server]) -> None:
    async def scenario() -> None:
        async with Traffic(make_layer(nodes), make_layer(nodes)) as traffic:
            getattr(nodes[number], fault)()
            await traffic.receives_within(3 + TOLERANCE)
            assert traffic.slowest < SEND_TIMEOUT + TOLERANCE

    run(scenario())


def test_sockets_outlive_all_nodes(nodes: list[Server]) -> None:
    async def scenario() -> None:
        async with Traffic(make_layer(nodes), make_layer(nodes)) as traffic:
            for node in nodes:
                node.kill()
            await asyncio.sleep(2)
            for node in nodes:
                await asyncio.to_thread(node.start)
            await traffic.receives_within(3 + TOLERANCE)
            assert traffic.slowest < SEND_TIMEOUT + TOLERANCE

    run(scenario())


def test_a_process_publishes_at_one_node(nodes: list[Server]) -> None:
    """On their way through two nodes, messages could overtake each other."""
    layer = make_layer(nodes)
    for _ in range(6):
        asyncio.run(layer.send("channel", {"number": 1}))
    stats = [node.client().info("commandstats") for node in nodes]
    assert sorted(each.get("cmdstat_publish", {}).get("calls", 0) for each in stats) == [0, 0, 6]
