"""A pytest plugin: run channels-redis' tests of its pub/sub layer on ours, with our servers."""

import os
from typing import Any, ClassVar

import channels_redis.pubsub
import pytest
from outlast.channels.redis import PubSubLayer, RedisLink


class TheirRedis:
    """What their tests close: the connections of a shard, which opens them again."""

    def __init__(self, shard: RedisLink) -> None:
        self._shard = shard

    async def aclose(self, **options: Any) -> None:
        with self._shard._node() as client:
            client.connection_pool.disconnect()  # type: ignore[union-attr]


class Layer(PubSubLayer):
    """Ours, with the private names that their tests look at."""

    _layers: ClassVar[dict[Any, Any]] = {}

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.channel_layer = self
        self._shards = self.links
        for shard in self.links:
            shard._redis = TheirRedis(shard)

    def _get_layer(self) -> "Layer":
        return self


channels_redis.pubsub.RedisPubSubChannelLayer = Layer


def pytest_collection_finish(session: pytest.Session) -> None:
    """Put the addresses of our servers in place of fixed ports."""
    for item in session.items:
        module: Any = item.module  # type: ignore[attr-defined]
        if "sentinel" in module.__name__:
            host, _, port = os.environ["REDIS_SENTINELS"].split(",")[0].rpartition(":")
            module.TEST_HOSTS[0]["sentinels"] = [(host, int(port))]
            module.TEST_HOSTS[0]["master_name"] = os.environ["REDIS_SENTINEL_SERVICE"]
        else:
            module.TEST_HOSTS[:] = [os.environ["REDIS_URL"]]
