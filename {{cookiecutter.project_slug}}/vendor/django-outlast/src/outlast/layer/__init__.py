"""The channel layer of the Redis profiles: pub/sub that lives through the loss of Redis.

channels-redis' pub/sub layer keeps sockets open when Redis goes away, but its sends
raise into the view or wait for a hung server, and it can stay deaf long after. Here:

- sending never raises for Redis' sake and holds nobody up for more than 0.3 seconds;
- channels may be asked for while Redis is away, and are heard once it is back;
- a dead, hung or demoted server is noticed within two seconds, and left for the primary.

What is published while Redis is away is lost: that is what pub/sub promises.
"""

import asyncio
import logging
from typing import Any

from channels_redis import pubsub
from channels_redis.utils import _wrap_close, decode_hosts

from .outage import Outage
from .shard import Shard

logger = logging.getLogger(__name__)


class Mailbox(asyncio.Queue[bytes]):
    """The messages a consumer has not taken yet; above its size new ones are dropped."""

    def put_nowait(self, item: bytes) -> None:
        try:
            super().put_nowait(item)
        except asyncio.QueueFull:
            logger.info("Channel layer: a consumer is too slow, %d bytes dropped.", len(item))


class LoopLayer(pubsub.RedisPubSubLoopLayer):
    """The layer of one event loop: the stock one with mailboxes of limited size.

    Its names of channels and groups need no prefix, which every name gets on the wire.
    """

    def __init__(self, layer: "PubSubLayer") -> None:
        super().__init__(hosts=layer.hosts, prefix="", channel_layer=layer)
        self._shards = [
            Shard(host, self, layer.prefix, outage)
            for host, outage in zip(layer.hosts, layer.outages, strict=True)
        ]

    async def _subscribe_to_channel(self, channel: str) -> None:
        self.channels[channel] = Mailbox(self.channel_layer.capacity)
        await self._get_shard(channel).subscribe(channel)

    async def receive(self, channel: str) -> dict[str, Any]:
        """Return the next message, passing over what is none."""
        message: dict[str, Any] | None = None
        while message is None:
            message = await super().receive(channel)
        return message


class PubSubLayer(pubsub.RedisPubSubChannelLayer):
    """channels-redis' pub/sub layer with `Shard` for its connections.

    `hosts` as in channels-redis: a URL, or a dict with `sentinels` and `master_name`.
    `prefix` begins every channel on the wire. `capacity` is the number of messages
    that wait for a consumer, 100 as in Channels.
    """

    _layers: dict[asyncio.AbstractEventLoop, LoopLayer]

    def __init__(
        self,
        hosts: list[str | dict[str, Any]],
        prefix: str,
        capacity: int = 100,
        **serialization: Any,
    ) -> None:
        super().__init__(**serialization)
        self.hosts = decode_hosts(hosts)
        self.prefix = prefix
        self.capacity = capacity
        self.outages = [Outage() for _ in self.hosts]

    def _get_layer(self) -> LoopLayer:
        loop = asyncio.get_running_loop()
        if loop not in self._layers:
            self._layers[loop] = LoopLayer(self)
            _wrap_close(self, loop)
        return self._layers[loop]

    def deserialize(self, message: bytes) -> dict[str, Any] | None:
        """Return the message, or None for what is none: whoever reaches Redis can send it."""
        try:
            content = super().deserialize(message)
        except Exception:
            content = None
        if isinstance(content, dict) and isinstance(content.get("type"), str):
            return content
        logger.warning("Channel layer: ignored %d bytes that are no message.", len(message))
        return None
