"""Settings under which Django's `runtests.py` runs its tests on the library's classes."""

import os
import sys
import tempfile
from typing import Any

from django.conf import settings as django_settings
from django.core.cache.backends import redis as django_redis
from django.test.runner import DiscoverRunner
from outlast import cache

# In Django's tests folder, which is the working directory.
from test_sqlite import *  # noqa: F403

PROFILE = os.environ["CONFORMANCE_PROFILE"]
TEST_RUNNER = "settings_of_profile.Runner"

# Django's tests ask for backends by these names.
django_redis.RedisCache = cache.RedisCache


def redis_cache() -> dict[str, Any]:
    """Return the cache of a Redis profile, as config/profiles.py has it."""
    if PROFILE == "redis":
        # Without the number of a database: a test gives that as an option.
        return {"LOCATION": os.environ["REDIS_URL"].removesuffix("/0")}
    if PROFILE == "redis-cluster":
        nodes = os.environ["REDIS_CLUSTER"].split(",")
        return {"LOCATION": [f"redis://{node}" for node in nodes], "OPTIONS": {"cluster": True}}
    sentinels = [address.split(":") for address in os.environ["REDIS_SENTINELS"].split(",")]
    service = os.environ["REDIS_SENTINEL_SERVICE"]
    options = {"sentinels": [(host, int(port)) for host, port in sentinels]}
    return {"LOCATION": f"redis://{service}", "OPTIONS": options}


CACHES: dict[str, Any] = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
if PROFILE.startswith("redis"):
    CACHES["redis"] = {"BACKEND": "django.core.cache.backends.redis.RedisCache", **redis_cache()}

    SESSION_CACHE_ALIAS = "redis"

# Sessions: `runtests.py` decides which apps are installed, and migrates none of them.
SESSION_FILE_PATH = tempfile.mkdtemp(prefix="conformance-")
sys.modules["__main__"].ALWAYS_INSTALLED_APPS += ["outlast", "our_sessions"]

# Tests that are left out, and why.
EXCEPTIONS: dict[str, str] = dict.fromkeys(
    [
        "DatabaseSessionTests.test_session_str",
        "DatabaseSessionWithTimeZoneTests.test_session_str",
        "CustomDatabaseSessionTests.test_session_str",
    ],
    "str() of a session is its public id: a key in a log or in the admin would log others in",
)
if PROFILE == "redis-cluster":
    EXCEPTIONS |= {
        "RedisCacheTests.test_get_client": "RedisCluster is no subclass of redis.Redis",
        "RedisCacheTests.test_get_connection_pool": "a cluster has one pool for each node",
        "RedisCacheTests.test_redis_pool_options": "its database 5: a cluster has one database",
    }


class Runner(DiscoverRunner):
    """Django's, without `EXCEPTIONS`, which it names."""

    def setup_databases(self, **kwargs: Any) -> Any:
        django_settings.MIGRATION_MODULES["outlast"] = None
        return super().setup_databases(**kwargs)

    def build_suite(self, *args: Any, **kwargs: Any) -> Any:
        suite = super().build_suite(*args, **kwargs)
        kept = []
        for test in suite:
            reason = EXCEPTIONS.get(".".join(test.id().split(".")[-2:]))
            if reason:
                self.log(f"Left out: {test.id()}: {reason}")
            else:
                kept.append(test)
        return self.test_suite(kept)
