"""Two sites on one Redis, with users of deploy/users.conf: they cannot see each other's data."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from channels.layers import channel_layers
from outlast.cache import RedisCache
from outlast.health import redis as probes
from redis import Redis
from redis.exceptions import ResponseError
from troubleshooting import SITE

from tests.servers import SERVICE, Topology

SECRET = "only-for-tests"  # noqa: S105
FORBIDDEN = [
    *("SCAN 0", "CLUSTERSCAN 0", "KEYS *", "RANDOMKEY", "DBSIZE", "FLUSHALL", "CONFIG GET *"),
    *("CLIENT LIST", "CLIENT KILL ID 1", "MONITOR", "ACL LIST", "SHUTDOWN", "FUNCTION FLUSH"),
    *("PUBSUB CHANNELS", "PUBSUB NUMSUB shop:channel", "PSUBSCRIBE *", "SUBSCRIBE shop:channel"),
    *("PUBLISH shop:channel x", "GET shop:1:k", "SET shop:1:k x", "DEL shop:1:k", "TYPE shop:1:k"),
    *("EXISTS shop:1:k", "OBJECT FREQ shop:1:k", "MEMORY USAGE shop:1:k", "DUMP shop:1:k"),
    *("COPY shop:1:k blog:1:k", "SORT shop:1:k", "EVAL return(1) 0", "SLOWLOG GET", "FLUSHDB"),
]
KINDS: dict[str, dict[str, int]] = {
    "redis": {},
    "sentinel": {"replicas": 1, "sentinels": 3},
    "cluster": {"shards": 3},
}


@pytest.fixture(scope="module", params=KINDS)
def servers(request: pytest.FixtureRequest) -> Iterator[Topology]:
    """Servers with the users `shop` and `blog`, each with the rights of the file's `site`."""
    lines = (SITE / "deploy" / "users.conf").read_text("utf-8").splitlines()
    (rights,) = (line.split()[2:] for line in lines if line.startswith("user site "))
    with Topology(**KINDS[request.param]) as topology:
        for name in ("shop", "blog"):
            own = [w.replace("SITE_PASSWORD", SECRET).replace("PREFIX", name) for w in rights]
            for server in topology.servers:
                server.client().execute_command("ACL", "SETUSER", name, "reset", *own)
        yield topology


def test_a_site_works_within_its_rights(servers: Topology, settings: Any) -> None:
    """Cache, `clear()`, messages and doctor; without a refusal in the servers' logs."""
    login: dict[str, Any] = {"username": "shop", "password": SECRET}
    urls: Any = [f"redis://127.0.0.1:{server.port}/0" for server in servers.primaries]
    if servers.shards:
        login |= {"cluster": True}
    elif servers.sentinels:
        sentinels = [("127.0.0.1", sentinel.port) for sentinel in servers.sentinels]
        urls, login = f"redis://{SERVICE}/0", login | {"sentinels": sentinels}
    cache = RedisCache(urls, {"KEY_PREFIX": "shop", "OPTIONS": login}).strict
    cache.set_many({"k": 1, "l": {"a": 2}})
    assert cache.incr("k") == 2 and cache.add("m", 1) and not cache.add("m", 1, timeout=0)
    assert cache.touch("m", 9) and cache.touch("m", None) and cache.has_key("m")
    assert cache.get("k") == 2 and cache.get_many("klm") == {"k": 2, "l": {"a": 2}, "m": 1}
    assert cache.delete("m")
    cache.delete_many("kl")
    cache.set("canary", "of the site")
    cache.client.breaker.check()
    assert cache.get("canary") == "of the site"
    for name, value in (("text", "planted"), ("number", 2**63 - 1)):
        cache.client.set(f"shop:1:{name}", value)
        with pytest.raises(ValueError, match="not found"):
            cache.incr(name)
    assert cache.clear() and cache.get_many("klm") == {}
    name = "outlast.cache.RedisCache"
    options = {"BACKEND": name, "LOCATION": urls, "KEY_PREFIX": "shop", "OPTIONS": login}
    settings.CACHES = {"default": options}
    for probe in (*probes.services(3), *probes.diagnostics()):
        assert probe.run()
    config = {"hosts": [{"address": urls, **login}], "prefix": "shop"}
    backend = "outlast.channels.redis.PubSubLayer"
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend, "CONFIG": config}}

    async def exchange() -> None:
        layer = channel_layers["default"]
        channel = await layer.new_channel()
        await layer.group_add("group", channel)
        await layer.group_send("group", {"type": "news"})
        assert await asyncio.wait_for(layer.receive(channel), 5) == {"type": "news"}
        await layer.group_discard("group", channel)
        await layer.flush()

    asyncio.run(exchange())
    for server in servers.servers:
        assert not server.client().acl_log(), "a right is missing"


@pytest.mark.parametrize("command", FORBIDDEN)
def test_a_neighbour_is_refused(servers: Topology, command: str) -> None:
    with Redis(port=servers.primary.port, username="blog", password=SECRET) as neighbour:
        assert neighbour.ping()
        # Valkey has had CLUSTERSCAN since 9.1.
        with pytest.raises(ResponseError, match=r"(?i)no permissions|unknown.*SCAN"):
            neighbour.execute_command(*command.split())
