"""The channel layer on a Redis Cluster, while its nodes fail."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from outlast.channels.local import PATIENCE
from outlast.channels.redis import PubSubLayer
from outlast.servers import Topology, reserve_port, wait_until
from talk import NOISE, Talk, run

pytestmark = pytest.mark.slow

SLOTS = 16384


@pytest.fixture
def nodes() -> Iterator[list[Topology]]:
    """Three primaries; no slot is moved when one fails, and messages need none."""
    with ExitStack() as stack:
        nodes = []
        for number in range(3):
            with reserve_port() as bus:
                port = bus.getsockname()[1]
            lines = ["cluster-enabled yes", "cluster-node-timeout 1000", f"cluster-port {port}"]
            nodes.append(stack.enter_context(Topology(lines=lines)))
            first, last = number * SLOTS // 3, (number + 1) * SLOTS // 3 - 1
            client = nodes[-1].primary.client()
            client.execute_command("CLUSTER ADDSLOTSRANGE", first, last)
            nodes[0].primary.client().execute_command(
                "CLUSTER MEET", "127.0.0.1", nodes[-1].primary.port, port
            )
        for node in nodes:
            info = node.primary.client().cluster
            wait_until(lambda ask=info: "'cluster_state': 'ok'" in str(ask("info")), "it")
        yield nodes


def make_layer(nodes: list[Topology]) -> PubSubLayer:
    addresses = [f"redis://127.0.0.1:{node.primary.port}" for node in nodes]
    return PubSubLayer([{"address": addresses, "cluster": True}], "site")


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("fault", ["kill", "pause"])
def test_sockets_outlive_a_node(fault: str, number: int, nodes: list[Topology]) -> None:
    async def scenario() -> None:
        async with Talk(make_layer(nodes), make_layer(nodes)) as talk:
            getattr(nodes[number].primary, fault)()
            await talk.is_heard_within(3 + NOISE)
            assert talk.slowest < PATIENCE + NOISE

    run(scenario())


def test_sockets_outlive_all_nodes(nodes: list[Topology]) -> None:
    async def scenario() -> None:
        async with Talk(make_layer(nodes), make_layer(nodes)) as talk:
            for node in nodes:
                node.primary.kill()
            await asyncio.sleep(2)
            for node in nodes:
                await asyncio.to_thread(node.primary.start)
            await talk.is_heard_within(3 + NOISE)
            assert talk.slowest < PATIENCE + NOISE

    run(scenario())
