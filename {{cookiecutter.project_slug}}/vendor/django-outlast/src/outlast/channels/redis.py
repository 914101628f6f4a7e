"""A channel layer between all processes of a site, on the pub/sub of Redis.

A subclass of channels-redis' pub/sub layer. If Redis is unavailable, the layer there raises errors
or waits when it sends, and can miss messages for half a minute afterwards. Here:

- sending raises no errors of Redis, and waits no longer than 0.3 seconds;
- channels can be opened while Redis is unavailable, and receive messages once it is back;
- a stopped, silent or demoted server is detected within two seconds, and replaced by the primary.

Messages that are sent while Redis is unavailable are lost, as with all pub/sub.
"""

import asyncio
import logging
from functools import partial
from typing import Any

import msgpack
from asgiref.sync import async_to_sync
from channels.layers import BaseChannelLayer
from channels_redis import pubsub, utils
from channels_redis.serializers import MsgPackSerializer, registry
from django.db import DEFAULT_DB_ALIAS, transaction

from .local import LIMIT, check_size, in_transaction
from .shard import Shard

logger = logging.getLogger(__name__)


class Serializer(MsgPackSerializer):
    """MessagePack, in which keys may be numbers, as in the other layers."""

    from_bytes = staticmethod(partial(msgpack.unpackb, strict_map_key=False))


registry.register_serializer("outlast", Serializer)


class PubSubLayer(pubsub.RedisPubSubChannelLayer):
    """channels-redis' pub/sub layer, with its options, that tolerates outages of Redis.

    `hosts` as there: addresses, or dictionaries with `sentinels` and `master_name`; or, for a
    cluster, `[{"address": ["redis://node:6379", …], "cluster": True}]`. `prefix`
    begins every channel in Redis. `capacity` is the number of messages that wait for a consumer.
    """

    _layers: dict[asyncio.AbstractEventLoop, "LoopLayer"]

    def __init__(
        self,
        hosts: list[str | dict[str, Any]] | None = None,
        prefix: str = "asgi",
        capacity: int = 100,
        using: str = DEFAULT_DB_ALIAS,
        serializer_format: str = "outlast",
        **options: Any,
    ) -> None:
        super().__init__(serializer_format=serializer_format, **options)
        self.hosts, self.prefix, self.capacity = utils.decode_hosts(hosts), prefix, capacity
        self.using = using
        self.last_error: Exception | None = None  # for the doctor

    def __getattr__(self, name: str) -> Any:
        found = super().__getattr__(name)
        return Sending(found) if name in ("send", "group_send") else found

    def serialize(self, message: Any) -> bytes:
        """Return a message as bytes; raise ValueError if it is too large."""
        return check_size(super().serialize(message))

    def _get_layer(self) -> "LoopLayer":
        loop = asyncio.get_running_loop()
        if loop not in self._layers:
            self._layers[loop] = LoopLayer(self)
            utils._wrap_close(self, loop)
        return self._layers[loop]


class Sending(partial[Any]):
    """A method of a layer that waits for the commit, if synchronous code calls it."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        using = self.args[0].using
        if in_transaction(using):
            later = partial(async_to_sync(self), *args, **options)
            transaction.on_commit(later, using=using, robust=True)
            return asyncio.sleep(0)
        return super().__call__(*args, **options)


class LoopLayer(pubsub.RedisPubSubLoopLayer, BaseChannelLayer):
    """The layer of one event loop, with queues of limited size.

    Its channels and groups have no prefix: `Shard` gives all of them one in Redis.
    """

    def __init__(self, layer: PubSubLayer) -> None:
        super().__init__(hosts=layer.hosts, prefix="", channel_layer=layer)
        self._shards = [Shard(host, self) for host in layer.hosts]

    async def _subscribe_to_channel(self, channel: str) -> None:
        self.channels[channel] = Queue(self.channel_layer.capacity)
        await self._get_shard(channel).subscribe(channel)

    async def send(self, channel: str, message: Any) -> None:
        """Send to a channel, of any process."""
        self.require_valid_channel_name(channel)
        await super().send(channel, message)

    async def group_send(self, group: str, message: Any) -> None:
        """Send to the members of a group in all processes."""
        self.require_valid_group_name(group)
        await super().group_send(group, message)

    async def group_add(self, group: str, channel: str) -> None:
        """Add a channel of this process to a group."""
        self.require_valid_group_name(group)
        await super().group_add(group, channel)

    async def close_channel(self, channel: str) -> None:
        """Close a channel of this process. Channels cancels `receive`, but may come too late."""
        if self.channels.pop(channel, None):
            await self._get_shard(channel).unsubscribe(channel)

    async def receive(self, channel: str) -> Any:
        """Return the next message of a channel; skip messages that cannot be read."""
        while True:
            try:
                return await super().receive(channel)
            except Exception:
                logger.warning("Channel layer: ignored bytes that are not a message.")


class Queue(asyncio.Queue[bytes]):
    """The messages that a consumer has not taken yet; more than its size are dropped."""

    def put_nowait(self, item: bytes) -> None:
        if len(item) > LIMIT:
            logger.warning("Channel layer: ignored %d bytes, which are too many.", len(item))
        elif self.full():
            logger.info("Channel layer: a consumer is too slow, %d bytes dropped.", len(item))
        else:
            super().put_nowait(item)
