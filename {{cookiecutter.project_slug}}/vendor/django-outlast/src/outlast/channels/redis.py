"""A channel layer between all processes of a site, on the pub/sub of Redis.

It uses the cache's client, and with it its breaker, timeouts, Sentinels and nodes of a cluster.
Every process receives every message, and keeps those for channels and groups that it has.

- Sending raises no errors of Redis, and waits no longer than 0.3 seconds.
- Channels can be opened while Redis is unavailable, and receive messages once it is back.
- A stopped, silent or demoted server is detected within two seconds, and replaced by the primary.

Messages that are sent while Redis is unavailable are lost, as with all pub/sub.
"""

from binascii import crc32
from typing import Any

from channels_redis import utils
from channels_redis.serializers import registry

from .local import LocalLayer, Waiting
from .shard import Shard

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
        self._shards = [Shard(host, prefix, self) for host in utils.decode_hosts(hosts)]

    def _publish(self, address: str, data: bytes) -> Waiting:
        shard = self._shards[crc32(address.encode()) % len(self._shards)]
        return shard.send(address, data)

    def _listen(self) -> Waiting:
        return [future for shard in self._shards for future in shard.listen()]

    async def flush(self) -> None:
        """Forget all channels and groups, and close the connections that receive."""
        await super().flush()
        for shard in self._shards:
            shard.close()
