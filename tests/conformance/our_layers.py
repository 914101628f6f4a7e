"""A pytest plugin: channels-redis' own tests of its pub/sub layer meet ours, on our servers."""

import os
from typing import Any

import channels_redis.pubsub
import pytest
from outlast.channels.redis import PubSubLayer

channels_redis.pubsub.RedisPubSubChannelLayer = PubSubLayer


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
