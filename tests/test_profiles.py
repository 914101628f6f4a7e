"""The profiles of a site: the settings that they read, and errors in one sentence."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from proof.conftest import module

profiles, environment = module("config.profiles"), module("outlast.environment")
SENTINEL, CLUSTER = "redis-sentinel", "redis-cluster"
NO_LOGIN = {"username": None, "password": None}
LOGIN = {"REDIS_USERNAME": "site", "REDIS_PASSWORD": "p@ss"}


def load(name: str, prefix: str = "site", **variables: str) -> Any:
    """Return a profile as an environment of just these variables makes it."""

    class Alone(environment.Env):  # type: ignore[misc,name-defined]
        ENVIRON: dict[str, Any] = variables

    return profiles.load(name, Alone(), Path("var"), prefix)


@pytest.mark.parametrize(
    ("name", "variables", "sentence"),
    [
        *((name, {}, ".*".join(profiles.PROFILES)) for name in ("", "memcached", "Redis")),
        ("", {}, "DJANGO_PROFILE is not set, but"),
        ("Redis", {}, "DJANGO_PROFILE is 'Redis', but"),
        ("database", {"prefix": ""}, "REDIS_PREFIX"),
        ("database", {"prefix": "shop:eu"}, "REDIS_PREFIX"),
        ("redis", {"REDIS_URL": "http://cache.example"}, r"REDIS_URL\) cannot be read"),
        ("redis", {"REDIS_URL": "redis://:p@secret#w/rd@host/0"}, r"REDIS_URL\) cannot be read"),
        (SENTINEL, {}, "REDIS_SENTINELS"),
        (CLUSTER, {"DJANGO_DEBUG": "0"}, "REDIS_CLUSTER"),
        *(
            (SENTINEL, {"REDIS_SENTINELS": text}, "REDIS_SENTINELS")
            for text in ("", "one.example", ":26379", "one:port", ":secret@one:1", "::1:26379")
        ),
        *(
            (CLUSTER, {"REDIS_CLUSTER": text}, "REDIS_CLUSTER")
            for text in ("", "one", "one:port", "redis://one:1,two:2", "one:1,:secret@two:1")
        ),
        (SENTINEL, {"REDIS_SENTINELS": "redis://:secret@one:26379/0"}, "REDIS_SENTINELS"),
        (
            SENTINEL,
            {"REDIS_CA_FILE": "/nowhere", "REDIS_TLS": "1", "REDIS_SENTINELS": "one:1"},
            "REDIS_CA_FILE is '/nowhere'",
        ),
    ],
)
def test_errors(name: str, variables: dict[str, str], sentence: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=sentence) as refused:
        load(name, **variables)
    assert not {"secret", "w/rd", "cache"} & set(re.findall(r"[\w/]+", str(refused.value)))


@pytest.mark.parametrize(
    ("name", "variables", "location", "options"),
    [
        (
            "redis",
            {"REDIS_URL": "rediss://ada:p%40ss@cache.example:6380/3"},
            "rediss://cache.example:6380/3",
            {"username": "ada", "password": "p@ss"},  # options that Django's error pages hide
        ),
        (
            SENTINEL,
            {"REDIS_SENTINELS": "one:26379, [2001:db8::1]:2", "REDIS_SENTINEL_SERVICE": "main"}
            | LOGIN
            | {"REDIS_SENTINEL_PASSWORD": "other"},
            "redis://main/0",
            {"sentinels": [("one", 26379), ("2001:db8::1", 2)], "username": "site"}
            | {"password": "p@ss", "sentinel_kwargs": {"password": "other", "ssl": False}},
        ),
        (
            SENTINEL,
            {"DJANGO_DEBUG": "1", "REDIS_PASSWORD": ""},
            "redis://mymaster/0",
            {"sentinels": [("127.0.0.1", port) for port in (26379, 26380, 26381)]}
            | {"sentinel_kwargs": {"password": None, "ssl": False}, **NO_LOGIN},
        ),
        (
            CLUSTER,
            {"DJANGO_DEBUG": "1"},
            [f"redis://127.0.0.1:{port}" for port in range(7000, 7006)],
            {"cluster": True, **NO_LOGIN},
        ),
        ("redis", {"DJANGO_DEBUG": "1"}, "redis://127.0.0.1:6379/0", {}),
        (
            CLUSTER,
            {"REDIS_CLUSTER": "one:1, [2001:db8::1]:2", "REDIS_TLS": "1"} | LOGIN,
            ["rediss://one:1", "rediss://[2001:db8::1]:2"],
            {"cluster": True, "username": "site", "password": "p@ss"},
        ),
        (
            CLUSTER,
            {"REDIS_CLUSTER": "rediss://site:p%40ss@one:6379"},
            ["rediss://one:6379"],
            {"cluster": True, "username": "site", "password": "p@ss"},
        ),
    ],
)
def test_where_cache_and_messages_go(
    name: str, variables: dict[str, str], location: Any, options: dict[str, Any]
) -> None:
    _, cache, layer = load(name, "shop", **variables)
    assert (cache["LOCATION"], cache["OPTIONS"]) == (location, options)
    assert layer["CONFIG"]["hosts"] == [{"address": location, **options}]
    assert cache["KEY_PREFIX"] == layer["CONFIG"]["prefix"] == "shop"


@pytest.mark.parametrize("name", ["database", "file", "dummy"])
def test_messages_go_through_the_database_if_that_is_postgresql(name: str) -> None:
    variables = {"DATABASE_URL": "postgres://one/shop"}
    layer = {"BACKEND": "outlast.channels.postgres.PostgresLayer", "CONFIG": {"listen": "default"}}
    assert load(name, **variables).channel_layer == layer
    variables["DATABASE_LISTEN_URL"] = "postgres://two/shop"
    assert load(name, **variables).channel_layer["CONFIG"] == {"listen": "listen"}
    for other in ({}, {"DATABASE_URL": "mysql://one/shop"}):
        assert load(name, **other).channel_layer["BACKEND"].endswith(".LocalLayer")


def test_what_starts_for_tests_is_what_devredis_starts_by_default() -> None:
    started = {**profiles.SERVERS[SENTINEL]}
    assert started.pop("replicas") == 2, "the new primary must have a replica, too"
    assert started == {"sentinels": len(profiles.LOCAL_SENTINELS)}
    assert len(profiles.LOCAL_SENTINELS) >= 3, "a majority must be left"
    shards, replicas = (profiles.SERVERS[CLUSTER][name] for name in ("shards", "replicas"))
    assert shards * (1 + replicas) == len(profiles.LOCAL_CLUSTER)


def test_tls_to_servers_and_to_sentinels(tmp_path: Path) -> None:
    variables, tls = {"REDIS_SENTINELS": "one:1"}, {}
    for name, option in (("CA", "ca_certs"), ("CERT", "certfile"), ("KEY", "keyfile")):
        path = tmp_path / f"{name}.pem"
        path.touch()
        variables[f"REDIS_{name}_FILE"] = tls[f"ssl_{option}"] = str(path)

    def options(name: str, **more: str) -> Any:
        return load(name, **variables | more).cache["OPTIONS"]

    assert options("redis", REDIS_URL="rediss://one") == tls
    assert options("redis", REDIS_URL="redis://one") == {}
    assert not options(SENTINEL)["sentinel_kwargs"]["ssl"]
    both = options(SENTINEL, REDIS_TLS="1")
    assert tls.items() <= both.items()
    assert {"ssl": True, **tls}.items() <= both["sentinel_kwargs"].items()
    mixed = options(SENTINEL, REDIS_TLS="1", REDIS_SENTINEL_TLS="0")
    assert tls.items() <= mixed.items() and not mixed["sentinel_kwargs"]["ssl"]
