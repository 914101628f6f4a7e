"""The profiles: what the environment makes of them, and what is refused in a sentence."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from environ import Env

from config import profiles

pytestmark = pytest.mark.any_profile  # each profile is loaded, whichever is active


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
    profile = load("redis", "shop", REDIS_URL="rediss://ada:p%40ss@cache.example:6380/3")
    assert profile.caches["default"]["LOCATION"] == "rediss://cache.example:6380/3"
    login = {"username": "ada", "password": "p@ss"}  # names whose values Django's pages hide
    assert profile.caches["default"]["OPTIONS"] == login
    (host,) = profile.channel_layers["default"]["CONFIG"]["hosts"]
    assert host == {"address": "rediss://cache.example:6380/3", **login}
    assert profile.caches["default"]["KEY_PREFIX"] == "shop"
    assert profile.channel_layers["default"]["CONFIG"]["prefix"].startswith("shop")


@pytest.mark.parametrize(
    "url",
    ["http://cache.example", "user:secret@cache.example:6379", "redis://:p@secret#w/rd@host/0"],
)
def test_an_address_of_no_redis_is_refused(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"REDIS_URL\) cannot be read") as refused:
        load("redis", REDIS_URL=url)
    assert not {"secret", "w/rd", "cache"} & set(re.findall(r"[\w/]+", str(refused.value)))


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


def logins(profile: profiles.Profile) -> list[tuple[Any, Any, Any]]:
    """Return who the cache and the channel layer log in as, to Redis and to Sentinels."""
    places = (
        profile.caches["default"]["OPTIONS"],
        profile.channel_layers["default"]["CONFIG"]["hosts"][0],
    )
    return [(p["username"], p["password"], p["sentinel_kwargs"]["password"]) for p in places]


def test_cache_and_layer_log_in_to_redis_and_to_sentinels_each_as_they_should() -> None:
    variables = {"REDIS_SENTINELS": "one:1", "REDIS_USERNAME": "site", "REDIS_PASSWORD": "secret"}
    profile = load("redis-sentinel", **variables, REDIS_SENTINEL_PASSWORD="other")
    assert logins(profile) == [("site", "secret", "other")] * 2


def test_an_empty_password_is_none() -> None:
    profile = load("redis-sentinel", REDIS_SENTINELS="one:1", REDIS_PASSWORD="")
    assert logins(profile) == [(None, None, None)] * 2


def test_tls_to_servers_and_to_sentinels(tmp_path: Path) -> None:
    files = {"REDIS_CA_FILE": "ca.pem", "REDIS_CERT_FILE": "cert.pem", "REDIS_KEY_FILE": "key.pem"}
    for name in files.values():
        (tmp_path / name).touch()
    variables = {name: str(tmp_path / file) for name, file in files.items()}
    tls = {
        "ssl_ca_certs": variables["REDIS_CA_FILE"],
        "ssl_certfile": variables["REDIS_CERT_FILE"],
        "ssl_keyfile": variables["REDIS_KEY_FILE"],
    }
    variables |= {"REDIS_SENTINELS": "one:1", "REDIS_URL": "rediss://one"}
    assert load("redis", **variables).caches["default"]["OPTIONS"] == tls
    assert (
        load("redis", **variables | {"REDIS_URL": "redis://one"}).caches["default"]["OPTIONS"]
        == {}
    )
    plain = load("redis-sentinel", **variables).caches["default"]
    assert plain["LOCATION"] == "redis://mymaster/0"
    assert "ssl" not in plain["OPTIONS"]["sentinel_kwargs"]
    both = load("redis-sentinel", **variables, REDIS_TLS="1")
    cache = both.caches["default"]
    assert cache["LOCATION"] == "rediss://mymaster/0"
    assert tls.items() <= cache["OPTIONS"].items()
    assert {"ssl": True, **tls}.items() <= cache["OPTIONS"]["sentinel_kwargs"].items()
    (host,) = both.channel_layers["default"]["CONFIG"]["hosts"]
    assert host == {"address": "rediss://mymaster/0", **cache["OPTIONS"]}
    mixed = load("redis-sentinel", **variables, REDIS_TLS="1", REDIS_SENTINEL_TLS="0")
    assert "ssl" not in mixed.caches["default"]["OPTIONS"]["sentinel_kwargs"]
    with pytest.raises(ImproperlyConfigured, match="REDIS_CA_FILE is '/nowhere'"):
        load("redis-sentinel", **variables | {"REDIS_CA_FILE": "/nowhere"}, REDIS_TLS="1")


def test_sentinels_are_guessed_on_this_machine_and_only_while_developing() -> None:
    profile = load("redis-sentinel", DJANGO_DEBUG="1")
    found = profile.caches["default"]["OPTIONS"]["sentinels"]
    assert found == [("127.0.0.1", 26379), ("127.0.0.1", 26380), ("127.0.0.1", 26381)]
    for variables in ({}, {"DJANGO_DEBUG": "0"}):
        with pytest.raises(ImproperlyConfigured, match="REDIS_SENTINELS"):
            load("redis-sentinel", **variables)


def test_a_cluster_is_some_nodes_or_one_address() -> None:
    login = {"REDIS_USERNAME": "site", "REDIS_PASSWORD": "p@ss", "REDIS_TLS": "1"}
    nodes = load("redis-cluster", REDIS_CLUSTER="one:1, [2001:db8::1]:2", **login)
    cache, (host,) = nodes.caches["default"], nodes.channel_layers["default"]["CONFIG"]["hosts"]
    assert cache["LOCATION"] == ["rediss://one:1", "rediss://[2001:db8::1]:2"]
    assert cache["OPTIONS"] == {"cluster": True, "username": "site", "password": "p@ss"}
    assert host == {"address": cache["LOCATION"], **cache["OPTIONS"]}
    one = load("redis-cluster", REDIS_CLUSTER="rediss://site:p%40ss@one:6379").caches["default"]
    assert one["LOCATION"] == ["rediss://one:6379"]
    assert one["OPTIONS"] == cache["OPTIONS"]
    local = load("redis-cluster", DJANGO_DEBUG="1").caches["default"]["LOCATION"]
    assert local[0] == "redis://127.0.0.1:7000" and len(local) == 6
    for bad in ("", "one", "one:port", "redis://one:1,two:2"):
        with pytest.raises(ImproperlyConfigured, match="REDIS_CLUSTER"):
            load("redis-cluster", REDIS_CLUSTER=bad)


def test_files_of_the_cache_lie_in_var() -> None:
    assert load("file").caches["default"]["LOCATION"] == Path("var", "cache")


def test_servers_for_tests_and_development_can_do_what_the_profile_promises() -> None:
    assert profiles.SERVERS["redis"] == {"replicas": 0, "sentinels": 0}
    quorum = profiles.SERVERS["redis-sentinel"]
    assert quorum["sentinels"] >= 3, "a majority must be left when one is lost"
    assert quorum["replicas"] >= 2, "the new primary must have a replica as well"
    assert profiles.SERVERS["redis-cluster"] == {"shards": 3, "replicas": 1}
