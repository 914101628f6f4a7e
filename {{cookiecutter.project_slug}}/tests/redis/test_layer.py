"""The channel layer on real servers: what is heard, and by whom."""

import asyncio
import contextlib
import inspect
import operator
import threading
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from channels_redis import pubsub, utils
from environ import Env
from outlast.layer import PubSubLayer
from outlast.servers import Topology
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool

from config import profiles
from tests.redis.outages import host
from tests.redis.tls import make_certificates, speak_tls

pytestmark = pytest.mark.any_redis

DEADLINE = 5  # seconds, for what takes a few milliseconds


@pytest.fixture(scope="module")
def topology() -> Iterator[Topology]:
    with Topology() as topology:
        yield topology


@pytest.fixture
def layer(topology: Topology) -> PubSubLayer:
    return make_layer(topology)


def make_layer(topology: Topology, prefix: str = "site", **options: Any) -> PubSubLayer:
    return PubSubLayer([host(topology)], prefix, **options)


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run in an event loop of its own, with an end."""
    return asyncio.run(asyncio.wait_for(coroutine, 30))


async def hear(layer: PubSubLayer, channel: str) -> dict[str, Any]:
    return await asyncio.wait_for(layer.receive(channel), DEADLINE)


async def hears_nothing(layer: PubSubLayer, channel: str) -> bool:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(layer.receive(channel), 0.2)
        return False
    return True


def test_a_channel_and_a_group_hear_what_is_said_right_after_joining(layer: PubSubLayer) -> None:
    async def scenario() -> None:
        for number in range(20):
            channel = await layer.new_channel()
            await layer.send(channel, {"type": "to.one", "number": number})
            assert await hear(layer, channel) == {"type": "to.one", "number": number}
            await layer.group_add(f"group-{number}", channel)
            # Another connection: without Redis' confirmation this one would sometimes win.
            other = PubSubLayer(layer.hosts, layer.prefix)
            await other.group_send(f"group-{number}", {"type": "to.all"})
            assert await hear(layer, channel) == {"type": "to.all"}

    run(scenario())


def test_who_left_a_group_hears_it_no_more(layer: PubSubLayer, topology: Topology) -> None:
    async def scenario() -> None:
        channel = await layer.new_channel()
        await layer.group_add("group", channel)
        await layer.group_discard("group", channel)
        await layer.group_send("group", {"type": "x"})
        assert await hears_nothing(layer, channel)
        while topology.primary.client().pubsub_channels("site:*"):  # closed as well: receive()
            await asyncio.sleep(0.01)

    run(scenario())


def test_order_is_kept_however_many_talk_at_once(layer: PubSubLayer) -> None:
    async def scenario() -> list[int]:
        channel = await layer.new_channel()
        sends = (layer.send(channel, {"type": "x", "n": n}) for n in range(90))
        await asyncio.gather(*sends)
        return [(await hear(layer, channel))["n"] for _ in range(90)]

    assert run(scenario()) == list(range(90))


def test_two_sites_on_one_redis_never_meet(topology: Topology) -> None:
    """Pub/sub ignores database numbers; a site called a and one called ab must not meet either."""

    async def scenario() -> None:
        ours, theirs = make_layer(topology, "a"), make_layer(topology, "ab")
        channel, foreign = await ours.new_channel(), await theirs.new_channel()
        await ours.group_add("group", channel)
        await theirs.group_add("group", foreign)
        listening = asyncio.create_task(theirs.receive("mail"))
        await asyncio.sleep(0.1)
        names = topology.primary.client().pubsub_channels()
        assert all(name.startswith(("a:", "ab:")) for name in names), names
        await ours.group_send("group", {"type": "ours"})
        await ours.send("mail", {"type": "ours"})
        await ours.send(foreign, {"type": "ours"})
        assert await hear(ours, channel) == {"type": "ours"}
        assert await hears_nothing(theirs, foreign)
        assert not listening.done()
        listening.cancel()

    run(scenario())


GARBAGE = {
    "nothing": b"",
    "no msgpack": b"\xc1",
    "half a message": b"\x81\xa4type",
    "a number": b"\x05",
    "a list": b"\x90",
    "a message without a type": b"\x81\xa4type\x05",
    "a pickle": b"cos\nsystem\n(S'true'\ntR.",
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_passed_over(layer: PubSubLayer, topology: Topology, garbage: bytes) -> None:
    """Whoever reaches Redis can publish: no socket may end over that."""

    async def scenario() -> None:
        channel = await layer.new_channel()
        topology.primary.client().publish(f"site:{channel}", garbage)
        await layer.send(channel, {"type": "sense"})
        assert await hear(layer, channel) == {"type": "sense"}

    run(scenario())


def test_what_cannot_be_a_message_is_the_senders_mistake(layer: PubSubLayer) -> None:
    with pytest.raises(TypeError):
        run(layer.group_send("group", {"type": "x", "what": object()}))


def test_a_slow_consumer_costs_a_limited_number_of_messages(topology: Topology) -> None:
    layer = make_layer(topology, capacity=10)

    async def scenario() -> list[int]:
        channel = await layer.new_channel()
        for n in range(30):
            await layer.send(channel, {"type": "x", "n": n})
        await asyncio.sleep(0.2)
        heard = [(await hear(layer, channel))["n"] for _ in range(10)]
        assert await hears_nothing(layer, channel)
        return heard

    assert run(scenario()) == list(range(10))


def test_a_large_message_arrives(layer: PubSubLayer) -> None:
    async def scenario() -> None:
        channel = await layer.new_channel()
        await layer.send(channel, {"type": "x", "what": "y" * 1_000_000})
        assert len((await hear(layer, channel))["what"]) == 1_000_000

    run(scenario())


@pytest.mark.parametrize("sentinels", [0, 1])
def test_synchronous_code_leaves_nothing_behind(sentinels: int) -> None:
    """Outside ASGI every send has an event loop, and connections, of its own."""
    with Topology(sentinels=sentinels) as topology:
        layer = PubSubLayer([host(topology)], "site")
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
        end = time.monotonic() + DEADLINE
        while any(map(operator.gt, open_things(), before)):  # servers take a moment to notice
            assert time.monotonic() < end, (before, open_things())
            time.sleep(0.05)


ACL = ["user site on >site-secret ~* &site:* +@all"]
LOGINS: dict[str, dict[str, Any]] = {
    "password": {"password": "it's & secret"},
    "user who may use the site's channels only": {
        "username": "site",
        "password": "site-secret",
        "lines": ACL,
    },
    "Sentinels with a password": {
        "sentinels": 1,
        "password": "secret",
        "sentinel_password": "other",
    },
}


@pytest.mark.parametrize("login", LOGINS.values(), ids=LOGINS)
def test_logs_in_with_what_the_environment_says(
    login: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Topology(**login) as topology:
        for name, value in topology.environment().items():
            monkeypatch.setenv(name, value)
        send_and_hear("redis-sentinel" if "sentinels" in login else "redis")


def test_speaks_tls(topology: Topology, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = speak_tls(topology.primary.port, make_certificates(tmp_path))
    monkeypatch.setenv(
        "REDIS_URL", f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={tmp_path / 'ca.pem'}"
    )
    send_and_hear("redis")


def send_and_hear(profile: str) -> None:
    """Send a message through the layer of a profile, as the environment makes it."""
    layers = profiles.load(profile, Env(), Path(), "site").channel_layers
    assert layers["default"]["BACKEND"] == "outlast.layer.PubSubLayer"
    layer = PubSubLayer(**layers["default"]["CONFIG"])

    async def scenario() -> None:
        channel = await layer.new_channel()
        await layer.send(channel, {"type": "x"})
        await hear(layer, channel)

    run(scenario())


def test_speaks_through_a_socket_in_the_file_system() -> None:
    # In the folder of the server, since a path of pytest's is longer than sockets may have.
    with Topology(lines=["unixsocket socket"]) as topology:
        layer = PubSubLayer([f"unix://{topology.primary.folder}/socket?db=3"], "site")

        async def scenario() -> None:
            channel = await layer.new_channel()
            await layer.send(channel, {"type": "x"})
            await hear(layer, channel)

        run(scenario())


def test_names_that_are_not_ours_are_as_they_were() -> None:
    """The layer overrides and calls what channels-redis and redis-py do not promise to keep."""
    used = {
        pubsub.RedisPubSubChannelLayer._get_layer: "self",
        pubsub.RedisPubSubChannelLayer.deserialize: "self message",
        pubsub.RedisPubSubLoopLayer.__init__: (
            "self hosts prefix on_disconnect on_reconnect channel_layer kwargs"
        ),
        pubsub.RedisPubSubLoopLayer._get_shard: "self channel_or_group_name",
        pubsub.RedisPubSubLoopLayer._subscribe_to_channel: "self channel",
        pubsub.RedisPubSubLoopLayer.receive: "self channel",
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
        ConnectionPool.release: "self connection",
        AbstractConnection.send_command: "self args kwargs",
        SentinelConnectionPool.get_master_address: "self",
    }
    for function, parameters in used.items():
        found = " ".join(inspect.signature(function).parameters)
        assert found == parameters, sentence(f"{function.__qualname__}({found})")
    for function, parameters in {
        AbstractConnection.read_response: "disable_decoding timeout disconnect_on_error",
        AbstractConnection.disconnect: "nowait",
    }.items():
        missing = set(parameters.split()) - set(inspect.signature(function).parameters)
        assert not missing, sentence(f"{function.__qualname__} without {missing}")

    async def attributes() -> dict[object, str]:
        layer = pubsub.RedisPubSubChannelLayer(hosts=["redis://127.0.0.1:1"])
        of_loop = layer._get_layer()
        shard = of_loop._shards[0]
        shard._ensure_redis()
        pool = SentinelConnectionPool("service", Sentinel([("127.0.0.1", 1)]))
        return {
            layer: "_layers",
            of_loop: "_shards channels groups channel_layer",
            shard: "_redis _receive_task channel_layer",
            shard._redis: "connection_pool",
            pool: "master_address sentinel_manager",
            pool.sentinel_manager: "sentinels",
        }

    for thing, names in asyncio.run(attributes()).items():
        missing = [name for name in names.split() if name not in vars(thing)]
        assert not missing, sentence(f"{type(thing).__name__} without {missing}")


def sentence(change: str) -> str:
    return (
        f"{change}: this is not what outlast.layer was written for. Read the new source of "
        "the class, adapt the layer, and only then raise the version in pyproject.toml."
    )
