"""Fixtures for the library's tests: real servers, and settings that use them."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from outlast.servers import Topology


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Topology]:
    """One real Redis or Valkey; a test that breaks it starts one of its own."""
    with Topology() as topology:
        yield topology


@pytest.fixture
def redis_url(redis_server: Topology) -> str:
    """The address of `redis_server`, emptied before the test."""
    with redis_server.primary.client() as client:
        client.flushall()
    return redis_server.environment()["REDIS_URL"]


@pytest.fixture
def use_redis(settings: Any, redis_url: str) -> Callable[..., None]:
    """A function that puts the cache, and with it session copies, on `redis_server`."""

    def use(**options: Any) -> None:
        settings.CACHES = {
            "default": {
                "BACKEND": "outlast.cache.RedisCache",
                "LOCATION": redis_url,
                "KEY_PREFIX": "test",
                "OPTIONS": options,
            }
        }

    return use
