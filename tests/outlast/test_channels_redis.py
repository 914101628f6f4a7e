"""The channel layer on Redis while Redis fails, and what it relies on."""

import asyncio
import threading
import time
from collections.abc import Callable

import pytest
from asgiref.sync import async_to_sync
from layer_helpers import SEND_TIMEOUT, TOLERANCE, Proxy, Traffic, make_layer, receive, run
from outlast.channels.redis import PubSubLayer

from tests.servers import SERVICE, Topology

SENTINEL = {"replicas": 2, "sentinels": 3}


# Faults


def killed(topology: Topology) -> None:
    topology.primary.kill()
    time.sleep(2)
    topology.primary.start(empty=True)


def hung(topology: Topology) -> None:
    topology.primary.pause()
    time.sleep(5)
    topology.primary.resume()


def paused(topology: Topology) -> None:
    topology.primary.client().client_pause(3000)
    time.sleep(3)


def cut(topology: Topology) -> None:
    for kind in ("pubsub", "normal"):
        topology.primary.client().execute_command("CLIENT", "KILL", "TYPE", kind)


def forbidden(topology: Topology) -> None:
    topology.primary.client().execute_command("ACL", "SETUSER", "default", "-@pubsub")
    cut(topology)
    time.sleep(1)
    topology.primary.client().execute_command("ACL", "SETUSER", "default", "+@pubsub")


def primary_killed(topology: Topology) -> None:
    old = topology.primary
    old.kill()
    topology.wait_failover(old)


def primary_hung(topology: Topology) -> None:
    old = topology.primary
    old.pause()
    topology.wait_failover(old)


def planned(topology: Topology) -> None:
    old = topology.primary
    topology.sentinels[-1].client().execute_command("SENTINEL FAILOVER", SERVICE)
    topology.wait_failover(old)


@pytest.mark.parametrize(
    ("fault", "servers"),
    [
        (cut, {}),
        *(pytest.param(fault, {}, marks=pytest.mark.slow)
          for fault in (forbidden, killed, paused, hung)),
        *(pytest.param(fault, SENTINEL, marks=pytest.mark.slow)
          for fault in (primary_killed, primary_hung, planned)),
    ],
)  # fmt: skip
def test_sockets_outlive(
    fault: Callable[[Topology], None], servers: dict[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(topology: Topology) -> None:
        here, there = make_layer(topology), make_layer(topology)
        async with Traffic(here, there) as traffic:
            breaking = asyncio.create_task(asyncio.to_thread(fault, topology))
            await asyncio.sleep(0.5)
            started = time.monotonic()
            late = await here.new_channel()
            await here.group_add("group", late)
            assert time.monotonic() - started < 2 * SEND_TIMEOUT + TOLERANCE
            await breaking
            # After a failover Sentinels need not agree at once; and see COOLDOWN of the breaker.
            await traffic.receives_within(5 if servers else 2 + TOLERANCE)
            await receive(here, late)
            assert traffic.slowest < SEND_TIMEOUT + TOLERANCE

    with Topology(**servers) as topology:
        run(scenario(topology))
        words = [text for text in caplog.messages if "messages" in text]
    assert ["again" in sentence for sentence in words] == [False, True] * (len(words) // 2)


@pytest.mark.slow
def test_an_idle_socket_lives(redis_server: Topology) -> None:
    """redis-py gives up reading after five seconds, and many proxies after ten or so."""

    async def scenario() -> None:
        layer = make_layer(redis_server)
        channel = await layer.new_channel()
        await asyncio.sleep(16)
        await layer.send(channel, {"type": "x"})
        await receive(layer, channel)

    run(scenario())


def test_redis_may_start_later() -> None:
    async def scenario(topology: Topology) -> None:
        layer = make_layer(topology)
        topology.primary.kill()
        channel = await layer.new_channel()
        await layer.send(channel, {"type": "lost"})
        await asyncio.to_thread(topology.primary.start)
        receiving = asyncio.create_task(receive(layer, channel))
        while not receiving.done():
            await layer.send(channel, {"type": "x"})
            await asyncio.sleep(0.05)
        assert await receiving == {"type": "x"}

    with Topology() as topology:
        run(scenario(topology))


def test_a_hung_redis_costs_one_wait_however_many_send() -> None:
    async def scenario(layer: PubSubLayer) -> None:
        started = time.monotonic()
        await asyncio.gather(*(layer.group_send("group", {"type": "x"}) for _ in range(300)))
        assert time.monotonic() - started < SEND_TIMEOUT + TOLERANCE
        for _ in range(300):
            await layer.group_send("group", {"type": "x"})
        assert time.monotonic() - started < SEND_TIMEOUT + 2 * TOLERANCE

    with Topology() as topology:
        topology.primary.pause()
        run(scenario(make_layer(topology)))


def test_a_hung_redis_does_not_hold_up_threads() -> None:
    spent = []
    with Topology() as topology:
        topology.primary.pause()
        layer = make_layer(topology)

        def work() -> None:
            started = time.monotonic()
            for _ in range(20):
                async_to_sync(layer.group_send)("group", {"type": "x"})
            spent.append(time.monotonic() - started)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(spent) == 4
    assert max(spent) < 2 * SEND_TIMEOUT + 2 * TOLERANCE  # and not twenty times 0.3 s


def test_the_breaker_is_the_cache_s(use_redis: Callable[..., None], redis_url: str) -> None:
    from django.core.cache import cache

    use_redis()
    layer = PubSubLayer([redis_url])

    assert layer._shards[0]._client.breaker is cache._cache.redis.breaker


@pytest.mark.slow
def test_a_busy_process_is_no_outage(
    redis_server: Topology, caplog: pytest.LogCaptureFixture
) -> None:
    """An event loop that was blocked for seconds reads what Redis sent meanwhile."""

    async def scenario() -> None:
        here, there = make_layer(redis_server), make_layer(redis_server)
        async with Traffic(here, there) as traffic:
            time.sleep(3)
            await traffic.receives_within(TOLERANCE)
            await asyncio.sleep(1.5)

    run(scenario())
    assert not caplog.records


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2])
def test_sentinels_may_hang(number: int) -> None:
    async def scenario(topology: Topology) -> None:
        for sentinel in topology.sentinels[:number]:
            sentinel.pause()
        async with Traffic(make_layer(topology), make_layer(topology)) as traffic:
            for _ in range(6):
                await traffic.receives_within(2 * TOLERANCE)
                await asyncio.sleep(0.5)
            assert traffic.slowest < SEND_TIMEOUT + TOLERANCE

    with Topology(**SENTINEL) as topology:
        run(scenario(topology))


def test_follows_sentinel_away_from_a_working_server() -> None:
    """Only Sentinel can say that a working server is no longer the primary."""

    async def scenario(topology: Topology, other: Topology) -> None:
        former, sentinel = topology.primary, topology.sentinels[0].client()
        async with Traffic(make_layer(topology), make_layer(topology)) as traffic:
            sentinel.execute_command("SENTINEL", "REMOVE", SERVICE)
            port = other.primary.port
            sentinel.execute_command("SENTINEL", "MONITOR", SERVICE, "127.0.0.1", port, 1)
            async with asyncio.timeout(5):
                while former.client().pubsub_channels("site:*"):
                    await asyncio.sleep(0.05)
            await traffic.receives_within(2 + TOLERANCE)

    with Topology(sentinels=1) as topology, Topology() as other:
        run(scenario(topology, other))


@pytest.mark.slow
def test_leaves_a_connection_that_leads_nowhere(redis_server: Topology) -> None:
    """As when the machine of Redis is switched off and another takes its address."""

    async def scenario() -> None:
        async with Proxy(redis_server.primary.port) as proxy:
            address = f"redis://127.0.0.1:{proxy.port}"
            async with Traffic(PubSubLayer([address]), PubSubLayer([address])) as traffic:
                proxy.lead_to(redis_server.primary.port)
                await traffic.receives_within(4)

    run(scenario())
