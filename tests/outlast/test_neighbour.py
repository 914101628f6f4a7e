"""Two sites on one Redis, each with its user of deploy/users.conf: neither learns of the other."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from channels.layers import channel_layers
from outlast.cache import RedisCache
from outlast.servers import Topology
from redis import Redis
from redis.exceptions import NoPermissionError
from troubleshooting import SITE

SECRET = "only-for-tests"  # noqa: S105
FORBIDDEN = [
    *("SCAN 0", "KEYS *", "RANDOMKEY", "DBSIZE", "FLUSHALL", "FLUSHDB", "CONFIG GET *"),
    *("CLIENT LIST", "CLIENT KILL ID 1", "MONITOR", "ACL LIST", "SHUTDOWN"),
    *("PUBSUB CHANNELS", "PUBSUB NUMSUB shop:channel", "PSUBSCRIBE *", "SUBSCRIBE shop:channel"),
    *("PUBLISH shop:channel x", "GET shop:1:k", "SET shop:1:k x", "DEL shop:1:k", "TYPE shop:1:k"),
    *("EXISTS shop:1:k", "OBJECT FREQ shop:1:k", "MEMORY USAGE shop:1:k", "DUMP shop:1:k"),
    *("COPY shop:1:k blog:1:k", "SORT shop:1:k", "EVAL return(1) 0", "SLOWLOG GET"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[Topology]:
    """A server with the users `shop` and `blog`, each with the rights of the file's `site`."""
    lines = (SITE / "deploy" / "users.conf").read_text("utf-8").splitlines()
    (rights,) = (line.split()[2:] for line in lines if line.startswith("user site "))
    with Topology() as topology:
        for name in ("shop", "blog"):
            own = [w.replace("SITE_PASSWORD", SECRET).replace("PREFIX", name) for w in rights]
            topology.primary.client().execute_command("ACL", "SETUSER", name, "reset", *own)
        yield topology


def options(server: Topology, name: str) -> tuple[str, dict[str, str]]:
    return f"redis://127.0.0.1:{server.primary.port}/0", {"username": name, "password": SECRET}


def test_a_site_works_within_its_rights(server: Topology, settings: Any) -> None:
    """Cache, `clear()` and messages; without a refusal in the server's log."""
    url, login = options(server, "shop")
    cache = RedisCache(url, {"KEY_PREFIX": "shop", "OPTIONS": login})
    cache.set_many({"k": 1, "l": {"a": 2}})
    assert cache.incr("k") == 2 and cache.add("m", 1) and cache.touch("m", 9)
    assert cache.get_many("klm") == {"k": 2, "l": {"a": 2}, "m": 1}
    assert cache.delete("m")
    cache.set("canary", "of the site")
    cache.client.breaker.check()
    assert cache.get("canary") == "of the site"
    assert cache.clear() and cache.get_many("klm") == {}
    config = {"hosts": [{"address": url, **login}], "prefix": "shop"}
    backend = "outlast.channels.redis.PubSubLayer"
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend, "CONFIG": config}}

    async def talk() -> None:
        layer = channel_layers["default"]
        channel = await layer.new_channel()
        await layer.group_add("group", channel)
        await layer.group_send("group", {"type": "news"})
        assert await asyncio.wait_for(layer.receive(channel), 5) == {"type": "news"}
        await layer.group_discard("group", channel)
        await layer.flush()

    asyncio.run(talk())
    assert not server.primary.client().acl_log(), "a right is missing"


@pytest.mark.parametrize("command", FORBIDDEN)
def test_a_neighbour_is_refused(server: Topology, command: str) -> None:
    url, login = options(server, "blog")
    with Redis.from_url(url, **login) as neighbour:
        assert neighbour.set("blog:1:k", 1)
        with pytest.raises(NoPermissionError):
            neighbour.execute_command(*command.split())
