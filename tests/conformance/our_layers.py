"""A pytest plugin: run channels-redis' tests of its pub/sub layer on ours, with our servers."""

import os
from typing import Any, ClassVar

import channels_redis.pubsub
import pytest
from outlast.channels.redis import PubSubLayer
from outlast.channels.shard import Shard


class TheirRedis:
    """What their tests close: the connections of a shard, which opens them again."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard

    async def aclose(self, **options: Any) -> None:
        self._shard._nodes()[0].connection_pool.disconnect()


class Layer(PubSubLayer):
    """Ours, with the private names that their tests look at."""

    _layers: ClassVar[dict[Any, Any]] = {}

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.channel_layer = self
        for shard in self._shards:
            shard._redis = TheirRedis(shard)  # type: ignore[attr-defined]

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
