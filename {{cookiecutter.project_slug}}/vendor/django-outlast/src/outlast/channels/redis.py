"""A channel layer between all processes of a site, on the pub/sub of Redis.

It uses the cache's client, and with it its breaker, timeouts, Sentinels and nodes of a cluster.
Every process receives every message, and keeps those for channels and groups that it has.

- Sending raises no errors of Redis, and waits no longer than 0.3 seconds.
- Channels can be opened while Redis is unavailable, and receive messages once it is back.
- A stopped, silent or demoted server is detected within two seconds, and replaced by the primary.

Messages that are sent while Redis is unavailable are lost, as with all pub/sub.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from channels_redis import utils
from channels_redis.serializers import registry
from redis import Redis
from redis.exceptions import RedisError

from outlast.addresses import Address, read_address
from outlast.redis import ClusterClient, PrimaryPool, get_client

from .link import PING_INTERVAL, Link
from .local import LocalLayer

# Options of channels-redis that have no use here.
UNUSED = {"channel_capacity", "expiry", "group_expiry", "on_disconnect", "on_reconnect"}


class PubSubLayer(LocalLayer):
    """`LocalLayer` for all processes that use the same Redis, with channels-redis' options.

    `hosts` as there: addresses, or dictionaries with `sentinels` and `master_name`; or, for a
    cluster, `[{"address": ["redis://node:6379", …], "cluster": True}]`. `prefix`, with a colon,
    is the name of the channel in Redis.
    """

    def __init__(
        self,
        hosts: list[str | dict[str, Any]] | None = None,
        prefix: str = "asgi",
        *,
        serializer_format: str = "",
        symmetric_encryption_keys: list[str] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**{k: v for k, v in options.items() if k not in UNUSED})
        if serializer_format or symmetric_encryption_keys:
            serializer = registry.get_serializer(
                serializer_format or "msgpack", symmetric_encryption_keys=symmetric_encryption_keys
            )
            self.serialize, self.deserialize = serializer.serialize, serializer.deserialize
        self.links = [RedisLink(self, host, prefix) for host in utils.decode_hosts(hosts)]


class RedisLink(Link):
    """What a process sends to one Redis, or one cluster, and receives from it."""

    service = "Redis"

    def __init__(self, layer: LocalLayer, host: dict[str, Any], prefix: str) -> None:
        super().__init__(layer)
        self._channel = f"{prefix}:"
        self._client = get_client(address_of(host), f"{prefix}:canary")
        self._is_cluster = isinstance(self._client, ClusterClient)
        self._turn = 0  # of the nodes of a cluster

    @contextmanager
    def _node(self) -> Iterator[Redis]:
        """Yield the client, or that of one node of a cluster; after an error another one.

        All nodes forward messages, but messages through different ones can overtake each other.
        """
        try:
            nodes = self._client.clients() if self._is_cluster else [self._client]
            yield nodes[self._turn % len(nodes)]
        except Exception:
            self._turn += 1
            raise

    def publish(self, batch: list[tuple[str, bytes]]) -> None:
        # The cache's breaker opens for one node, while others forward messages.
        with nullcontext() if self._is_cluster else self._client.breaker, self._node() as node:
            pipeline = node.pipeline(transaction=False)
            for address, data in batch:
                pipeline.publish(self._channel, f"{address} ".encode() + data)
            for reply in pipeline.execute(raise_on_error=False):
                if isinstance(reply, Exception):  # redis-py would add the message to its text
                    raise reply

    def receive(self) -> None:
        """Deliver messages; raise if Redis is silent or no longer the primary."""
        with self._node() as node, node.pubsub() as pubsub:
            pubsub.subscribe(self._channel)  # connects: not to be cut off
            self._connection = pubsub.connection
            self._receive(pubsub)

    def _receive(self, pubsub: Any) -> None:
        ping_at, silent = 0.0, 0  # pings, not seconds: after being busy, it reads what has arrived
        while self.is_open:
            if (now := time.monotonic()) >= ping_at:
                ping_at = now + PING_INTERVAL
                pubsub.ping()
                self._follow_primary(pubsub.connection)
            message = pubsub.get_message(timeout=max(ping_at - now, 0.1))
            silent = 0 if message else silent + 1
            if silent == 2:
                raise RedisError("no reply to two pings")
            if message and message["type"] == "pong":
                self.receives()
            elif message and message["type"] == "message":
                address, _, data = message["data"].partition(b" ")
                self._layer._deliver(address.decode(errors="replace"), data)

    def _follow_primary(self, connection: Any) -> None:
        pool = getattr(self._client, "connection_pool", None)
        if not isinstance(pool, PrimaryPool):
            return
        if pool.get_master_address() != (connection.host, connection.port):
            raise RedisError("Sentinel names another primary")

    def receives(self) -> None:
        if self._lost_at is not None:
            self._client.breaker.probe_soon()
        super().receives()

    def disconnect(self) -> None:
        if connection := self._connection:  # the thread that receives waits for it
            connection.disconnect()


def address_of(host: dict[str, Any]) -> Address:
    """Return the address of a host in channels-redis' setting."""
    options = dict(host)
    if "address" not in options:
        name = options.pop("master_name", None) or (
            f"{options.pop('host', 'localhost')}:{options.pop('port', 6379)}"
        )
        options["address"] = f"redis://{name}/{options.pop('db', 0)}"
    return read_address(options.pop("address"), options)
