"""The channel layer on Redis: keys, logins, TLS, and the private names that it relies on."""

import asyncio
import inspect
import operator
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from channels_redis import pubsub, utils
from outlast.channels.redis import PubSubLayer
from outlast.servers import Topology
from redis.asyncio.client import PubSub
from redis.asyncio.connection import Connection, ConnectionPool
from talk import DEADLINE, Proxy, hear, hears_nothing, make_layer, run
from tls import make_certificates, speak_tls


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
    """Send until something is heard: on a busy machine, connecting may take too long for one."""

    async def scenario() -> None:
        channel = await layer.new_channel()
        heard = asyncio.create_task(hear(layer, channel))
        while not heard.done():
            await layer.send(channel, {"type": "x"})
            await asyncio.wait([heard], timeout=0.5)
        await heard

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


def test_nothing_said_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """redis-py repeats the command, and with it the message, in some of its errors."""
    with Topology() as topology:
        topology.primary.client().execute_command("ACL", "SETUSER", "default", "-publish")
        layer = make_layer(topology)
        run(layer.group_send("group", {"type": "x", "text": "for your eyes only"}))
    assert "cannot be used" in caplog.text
    assert "eyes" not in caplog.text


def test_the_limit_counts_from_the_first_connection() -> None:
    """Each reply comes in time, but there are too many of them before a message is sent."""

    async def scenario(topology: Topology) -> None:
        here = make_layer(topology)
        channel = await here.new_channel()
        await here.group_add("group", channel)
        async with Proxy(topology.primary.port, delay=0.2) as proxy:
            address = f"redis://:{topology.password}@127.0.0.1:{proxy.port}/1"
            await PubSubLayer([address], "site").group_send("group", {"type": "late"})
            assert await hears_nothing(here, channel)

    with Topology(password="secret") as topology:
        run(scenario(topology))
