"""The profiles: what the environment makes of them, and what is refused in a sentence."""

from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from environ import Env

from config import profiles


def load(name: str, prefix: str = "site", **variables: str) -> profiles.Profile:
    """Return a profile as an environment of just these variables makes it."""

    class Alone(Env):
        ENVIRON: dict[str, Any] = variables

    return profiles.load(name, Alone(), Path("var"), prefix)


@pytest.mark.parametrize("name", ["", "memcached", "Redis"])
def test_an_unknown_profile_is_refused_with_the_names_there_are(name: str) -> None:
    with pytest.raises(ImproperlyConfigured) as refused:
        load(name)
    assert all(known in str(refused.value) for known in profiles.PROFILES)


@pytest.mark.parametrize("prefix", ["", "shop:eu"])
def test_a_prefix_by_which_two_sites_could_meet_is_refused(prefix: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="REDIS_PREFIX"):
        load("database", prefix)


def test_redis_is_where_redis_url_says_and_keys_begin_with_the_prefix() -> None:
    profile = load("redis", "shop", REDIS_URL="rediss://cache.example:6380/3")
    assert profile.caches["default"]["LOCATION"] == "rediss://cache.example:6380/3"
    assert profile.caches["default"]["KEY_PREFIX"] == "shop"
    assert profile.channel_layers["default"]["CONFIG"]["prefix"].startswith("shop")


def test_each_sentinel_is_a_host_and_a_port() -> None:
    addresses = "one.example:26379, [2001:db8::1]:26380"
    profile = load("redis-sentinel", REDIS_SENTINELS=addresses, REDIS_SENTINEL_SERVICE="main")
    options = profile.caches["default"]["OPTIONS"]
    assert options["sentinels"] == [("one.example", 26379), ("2001:db8::1", 26380)]
    assert profile.caches["default"]["LOCATION"] == "redis://main/0"


@pytest.mark.parametrize("addresses", ["", "one.example", "one.example:", ":26379", "one:port"])
def test_without_a_sentinel_that_can_be_asked_the_site_does_not_start(addresses: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="REDIS_SENTINELS"):
        load("redis-sentinel", REDIS_SENTINELS=addresses)
