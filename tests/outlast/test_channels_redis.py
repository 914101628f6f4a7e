"""The channel layer on Redis while Redis fails, and what it relies on."""

import asyncio
import inspect
import operator
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from channels_redis import pubsub, utils
from outlast.channels.local import PATIENCE
from outlast.channels.redis import PubSubLayer
from outlast.servers import SERVICE, Topology
from redis.asyncio.client import PubSub
from redis.asyncio.connection import Connection, ConnectionPool
from talk import DEADLINE, NOISE, Door, Talk, hear, hears_nothing, run
from tls import make_certificates, speak_tls

SENTINEL = {"replicas": 2, "sentinels": 3}


def make_layer(topology: Topology, prefix: str = "site", **options: Any) -> PubSubLayer:
    """Return a layer, configured as in config/profiles.py of a site."""
    login = {"username": topology.username or None, "password": topology.password or None}
    if not topology.sentinels:
        address = f"redis://127.0.0.1:{topology.primary.port}/0"
        return PubSubLayer([{"address": address, **login}], prefix, **options)
    host = {
        "sentinels": [("127.0.0.1", sentinel.port) for sentinel in topology.sentinels],
        "master_name": SERVICE,
        "sentinel_kwargs": {"password": topology.sentinel_password or None},
        **login,
    }
    return PubSubLayer([host], prefix, **options)


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
        async with Talk(here, there) as talk:
            breaking = asyncio.create_task(asyncio.to_thread(fault, topology))
            await asyncio.sleep(0.5)
            started = time.monotonic()
            late = await here.new_channel()
            await here.group_add("group", late)
            assert time.monotonic() - started < 2 * PATIENCE + NOISE
            await breaking
            # After a failover Sentinels need not agree at once; and see COOLDOWN of the breaker.
            await talk.is_heard_within(5 if servers else 2 + NOISE)
            await hear(here, late)
            assert talk.slowest < PATIENCE + NOISE

    with Topology(**servers) as topology:
        run(scenario(topology))
    words = [record.getMessage() for record in caplog.records if "heard" in record.getMessage()]
    assert ["again" in sentence for sentence in words] == [False, True] * (len(words) // 2)


@pytest.mark.slow
def test_an_idle_socket_lives(redis_server: Topology) -> None:
    """redis-py gives up reading after five seconds, and many proxies after ten or so."""

    async def scenario() -> None:
        layer = make_layer(redis_server)
        channel = await layer.new_channel()
        await asyncio.sleep(16)
        await layer.send(channel, {"type": "x"})
        await hear(layer, channel)

    run(scenario())


def test_redis_may_come_later() -> None:
    async def scenario(topology: Topology) -> None:
        layer = make_layer(topology)
        topology.primary.kill()
        channel = await layer.new_channel()
        await layer.send(channel, {"type": "lost"})
        await asyncio.to_thread(topology.primary.start)
        hearing = asyncio.create_task(hear(layer, channel))
        while not hearing.done():
            await layer.send(channel, {"type": "x"})
            await asyncio.sleep(0.05)
        assert await hearing == {"type": "x"}

    with Topology() as topology:
        run(scenario(topology))


def test_a_hung_redis_costs_one_wait_however_many_send() -> None:
    async def scenario(layer: PubSubLayer) -> None:
        started = time.monotonic()
        await asyncio.gather(*(layer.group_send("group", {"type": "x"}) for _ in range(300)))
        assert time.monotonic() - started < PATIENCE + NOISE
        for _ in range(300):
            await layer.group_send("group", {"type": "x"})
        assert time.monotonic() - started < PATIENCE + 2 * NOISE

    with Topology() as topology:
        topology.primary.pause()
        run(scenario(make_layer(topology)))


def test_a_hung_redis_does_not_hold_up_threads() -> None:
    """Outside ASGI every send has an event loop of its own, and all share the breaker."""
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
    assert max(spent) < 2 * PATIENCE + 2 * NOISE  # and not twenty times 0.3 s


def test_the_breaker_is_the_cache_s(use_redis: Callable[..., None], redis_url: str) -> None:
    from django.core.cache import cache

    use_redis()
    layer = PubSubLayer([redis_url])

    async def breaker() -> Any:
        return layer._get_layer()._shards[0]._client.breaker

    assert run(breaker()) is cache._cache.redis.breaker


def test_nothing_said_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """redis-py repeats the command, and with it the message, in some of its errors."""
    with Topology() as topology:
        topology.primary.client().execute_command("ACL", "SETUSER", "default", "-publish")
        layer = make_layer(topology)
        run(layer.group_send("group", {"type": "x", "text": "for your eyes only"}))
    assert "cannot be used" in caplog.text
    assert "eyes" not in caplog.text


@pytest.mark.slow
def test_a_moment_of_being_busy_ourselves_is_no_outage(
    redis_server: Topology, caplog: pytest.LogCaptureFixture
) -> None:
    """An event loop that was held up for seconds finds what Redis said meanwhile."""

    async def scenario() -> None:
        here, there = make_layer(redis_server), make_layer(redis_server)
        async with Talk(here, there) as talk:
            time.sleep(3)
            await talk.is_heard_within(NOISE)
            await asyncio.sleep(1.5)

    run(scenario())
    assert not caplog.records


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2])
def test_sentinels_may_hang(number: int) -> None:
    async def scenario(topology: Topology) -> None:
        for sentinel in topology.sentinels[:number]:
            sentinel.pause()
        async with Talk(make_layer(topology), make_layer(topology)) as talk:
            for _ in range(6):
                await talk.is_heard_within(2 * NOISE)
                await asyncio.sleep(0.5)
            assert talk.slowest < PATIENCE + NOISE

    with Topology(**SENTINEL) as topology:
        run(scenario(topology))


def test_follows_sentinel_from_a_server_that_is_well() -> None:
    """Nothing but Sentinel's word tells a former primary from the primary."""

    async def scenario(topology: Topology, other: Topology) -> None:
        former, sentinel = topology.primary, topology.sentinels[0].client()
        async with Talk(make_layer(topology), make_layer(topology)) as talk:
            sentinel.execute_command("SENTINEL", "REMOVE", SERVICE)
            port = other.primary.port
            sentinel.execute_command("SENTINEL", "MONITOR", SERVICE, "127.0.0.1", port, 1)
            async with asyncio.timeout(5):
                while former.client().pubsub_channels("site:*"):
                    await asyncio.sleep(0.05)
            await talk.is_heard_within(2 + NOISE)

    with Topology(sentinels=1) as topology, Topology() as other:
        run(scenario(topology, other))


@pytest.mark.slow
def test_leaves_a_connection_that_leads_nowhere(redis_server: Topology) -> None:
    """As when the machine of Redis is switched off and another takes its address."""

    async def scenario() -> None:
        async with Door(redis_server.primary.port) as door:
            address = f"redis://127.0.0.1:{door.port}"
            async with Talk(PubSubLayer([address]), PubSubLayer([address])) as talk:
                door.lead_to(redis_server.primary.port)
                await talk.is_heard_within(4)

    run(scenario())


# What is heard, and by whom


def test_two_sites_on_one_redis_never_meet(redis_server: Topology) -> None:
    """Pub/sub ignores database numbers; a site called a and one called ab must not meet either."""

    async def scenario() -> None:
        ours, theirs = make_layer(redis_server, "a"), make_layer(redis_server, "ab")
        channel, foreign = await ours.new_channel(), await theirs.new_channel()
        await ours.group_add("group", channel)
        await theirs.group_add("group", foreign)
        listening = asyncio.create_task(theirs.receive("mail"))
        await asyncio.sleep(0.1)
        names = redis_server.primary.client().pubsub_channels()
        assert all(name.startswith(("a:", "ab:")) for name in names), names
        await ours.group_send("group", {"type": "ours"})
        await ours.send("mail", {"type": "ours"})
        await ours.send(foreign, {"type": "ours"})
        assert await hear(ours, channel) == {"type": "ours"}
        assert await hears_nothing(theirs, foreign)
        assert not listening.done()
        listening.cancel()

    run(scenario())


GARBAGE = [b"", b"\xc1", b"\x81\xa4type", b"cos\nsystem\n(S'true'\ntR.", b"\x91" * 2000]


@pytest.mark.parametrize("garbage", GARBAGE)
def test_garbage_is_passed_over(garbage: bytes, redis_server: Topology) -> None:
    """Everyone with access to Redis can publish: no socket may end because of that."""

    async def scenario() -> None:
        layer = make_layer(redis_server)
        channel = await layer.new_channel()
        redis_server.primary.client().publish(f"site:{channel}", garbage)
        await layer.send(channel, {"type": "sense"})
        assert await hear(layer, channel) == {"type": "sense"}

    run(scenario())


@pytest.mark.parametrize("sentinels", [0, 1])
def test_synchronous_code_leaves_nothing_behind(sentinels: int) -> None:
    """Outside ASGI every send has an event loop, and connections, of its own."""
    with Topology(sentinels=sentinels) as topology:
        layer = make_layer(topology)
        servers = topology.servers + topology.sentinels
        descriptors = Path("/proc/self/fd")

        def open_things() -> tuple[int, ...]:
            connections = [s.client().info("clients")["connected_clients"] for s in servers]
            files = len(list(descriptors.iterdir())) if descriptors.exists() else 0
            return (*connections, threading.active_count(), len(layer._layers), files)

        async_to_sync(layer.group_send)("group", {"type": "x"})
        before = open_things()
        for _ in range(50):
            async_to_sync(layer.group_send)("group", {"type": "x"})
        deadline = time.monotonic() + DEADLINE
        while any(map(operator.gt, open_things(), before)):  # servers take a moment to notice
            assert time.monotonic() < deadline, (before, open_things())
            time.sleep(0.05)


# Logging in


def send_and_hear(layer: PubSubLayer) -> None:
    async def scenario() -> None:
        channel = await layer.new_channel()
        await layer.send(channel, {"type": "x"})
        await hear(layer, channel)

    run(scenario())


@pytest.mark.parametrize(
    "login",
    [
        {"password": "it's & secret"},
        {
            "username": "site",
            "password": "site-secret",
            "lines": ["user site on >site-secret ~site:* &site:* +@all"],
        },
        {"sentinels": 1, "password": "secret", "sentinel_password": "other"},
    ],
    ids=["password", "user who may use the site's channels only", "Sentinels with a password"],
)
def test_logs_in(login: dict[str, Any]) -> None:
    with Topology(**login) as topology:
        send_and_hear(make_layer(topology))


def test_speaks_tls(redis_server: Topology, tmp_path: Path) -> None:
    port = speak_tls(redis_server.primary.port, make_certificates(tmp_path))
    url = f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={tmp_path / 'ca.pem'}"
    send_and_hear(PubSubLayer([url], "site"))


def test_speaks_through_a_socket_in_the_file_system() -> None:
    # In the folder of the server, since a path of pytest's is longer than sockets may have.
    with Topology(lines=["unixsocket socket"]) as topology:
        url = f"unix://{topology.primary.folder}/socket?db=3"
        send_and_hear(PubSubLayer([url], "site"))


def test_private_names_are_as_they_were() -> None:
    """The layer overrides and calls what channels-redis and redis-py do not promise to keep."""
    used = {
        pubsub.RedisPubSubChannelLayer._get_layer: "self",
        pubsub.RedisPubSubLoopLayer.__init__: (
            "self hosts prefix on_disconnect on_reconnect channel_layer kwargs"
        ),
        pubsub.RedisPubSubLoopLayer._get_shard: "self channel_or_group_name",
        pubsub.RedisPubSubLoopLayer._subscribe_to_channel: "self channel",
        pubsub.RedisSingleShardConnection.__init__: "self host channel_layer",
        pubsub.RedisSingleShardConnection.publish: "self channel message",
        pubsub.RedisSingleShardConnection.subscribe: "self channel",
        pubsub.RedisSingleShardConnection.unsubscribe: "self channel",
        pubsub.RedisSingleShardConnection.flush: "self",
        pubsub.RedisSingleShardConnection._do_receiving: "self",
        pubsub.RedisSingleShardConnection._receive_message: "self message",
        pubsub.RedisSingleShardConnection._ensure_redis: "self",
        pubsub.RedisSingleShardConnection._ensure_receiver: "self",
        utils._wrap_close: "proxy loop",
        utils.decode_hosts: "hosts",
        pubsub.create_pool: "host",
        Connection._connect: "self",
        ConnectionPool.disconnect: "self inuse_connections",
    }
    for function, parameters in used.items():
        found = " ".join(inspect.signature(function).parameters)
        assert found == parameters, sentence(f"{function.__qualname__}({found})")

    async def attributes() -> dict[object, str]:
        layer = pubsub.RedisPubSubChannelLayer(hosts=["redis://127.0.0.1:1"])
        of_loop = layer._get_layer()
        shard = of_loop._shards[0]
        shard._ensure_redis()
        return {
            layer: "_layers",
            of_loop: "_shards channels groups channel_layer",
            shard: "_redis _pubsub _lock channel_layer",
            shard._redis: "connection_pool",
            PubSub(shard._redis.connection_pool): "connection",
        }

    for thing, names in run(attributes()).items():
        missing = [name for name in names.split() if name not in vars(thing)]
        assert not missing, sentence(f"{type(thing).__name__} without {missing}")


def sentence(change: str) -> str:
    return (
        f"{change}: this is not what outlast.channels.redis was written for. Read the new source "
        "of the class, adapt the layer, and only then raise the version in pyproject.toml."
    )
