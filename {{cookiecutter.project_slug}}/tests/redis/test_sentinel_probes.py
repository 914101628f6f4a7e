"""What the probes find among Sentinels, replicas and a primary that changes."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from outlast.advice import TroubleError
from outlast.probes import State, base, redis
from outlast.probes.base import ask
from outlast.servers import Topology

pytestmark = [pytest.mark.slow, pytest.mark.any_redis]


@pytest.fixture(scope="module")
def topology() -> Iterator[Topology]:
    with Topology(
        replicas=1, sentinels=3, password="s3cret", sentinel_password="gu4rd"
    ) as topology:
        yield topology


@pytest.fixture(autouse=True)
def cache(topology: Topology, settings: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The site's setting, pointed at the topology."""
    monkeypatch.setattr(base, "_questions", {})
    cache = {
        "BACKEND": "outlast.cache.RedisCache",
        "LOCATION": "redis://mymaster/0",
        "KEY_PREFIX": "here",
        "OPTIONS": {
            "sentinels": [("127.0.0.1", sentinel.port) for sentinel in topology.sentinels],
            "sentinel_kwargs": {"password": "gu4rd"},
            "username": None,
            "password": "s3cret",
        },
    }
    settings.CACHES = {"default": cache}
    return cache


def test_all_well(topology: Topology) -> None:
    results = ask([*redis.services(), *redis.examinations()], 10)
    assert {result.name: result.state for result in results} == {
        "sentinel 1": State.OK,
        "sentinel 2": State.OK,
        "sentinel 3": State.OK,
        "redis": State.OK,
        "redis replicas": State.OK,
        "redis memory": State.OK,
        "redis persistence": State.OK,
        "redis connections": State.OK,
        "redis clock": State.OK,
    }
    primary = topology.primary.port
    assert f"primary 127.0.0.1:{primary}, replicas 1, other Sentinels 2" in results[0].finding.text
    assert results[3].finding.text.endswith(f"at 127.0.0.1:{primary}")
    assert "online, lag " in results[4].finding.text


def test_one_sentinel_is_gone(topology: Topology) -> None:
    topology.sentinels[0].kill()
    try:
        with pytest.raises(TroubleError, match="Nothing listens at 127"):
            redis.sentinel(1)
        assert redis.primary().state is State.OK, "two are enough to find the primary"
    finally:
        topology.sentinels[0].start()


def test_all_sentinels_hang(topology: Topology) -> None:
    for sentinel in topology.sentinels:
        sentinel.pause()
    try:
        with pytest.raises(TroubleError, match="None of the 3 Sentinels names a primary"):
            redis.primary()
        with pytest.raises(TroubleError, match="does not answer"):
            redis.sentinel(3)
    finally:
        for sentinel in topology.sentinels:
            sentinel.resume()
        topology.wait_ready()


def test_a_service_they_do_not_watch(cache: dict[str, Any]) -> None:
    cache["LOCATION"] = "redis://SomeBody/0"
    with pytest.raises(TroubleError, match="watches no service of that name") as error:
        redis.sentinel(1)
    assert "REDIS_SENTINEL_SERVICE" in error.value.remedies[0]
    with pytest.raises(TroubleError, match="names a primary for 'SomeBody'"):
        redis.primary()


def test_wrong_password_of_the_sentinels(cache: dict[str, Any]) -> None:
    cache["OPTIONS"]["sentinel_kwargs"] = {"password": "wr0ng"}
    with pytest.raises(TroubleError, match=r"The Sentinel at .* refuses") as error:
        redis.sentinel(1)
    assert "REDIS_SENTINEL_PASSWORD" in error.value.remedies[0]


def test_wrong_password_of_the_servers(cache: dict[str, Any]) -> None:
    cache["OPTIONS"]["password"] = "wr0ng"
    with pytest.raises(TroubleError, match=r"Redis at .* refuses") as error:
        redis.primary()
    assert "REDIS_PASSWORD" in error.value.remedies[0]


def test_sentinels_that_disagree(monkeypatch: pytest.MonkeyPatch, cache: dict[str, Any]) -> None:
    """Two worlds: one Sentinel of another topology is in the list by mistake."""
    with Topology(sentinels=1, sentinel_password="gu4rd") as other:
        sentinels = cache["OPTIONS"]["sentinels"]
        sentinels[0] = ("127.0.0.1", other.sentinels[0].port)
        with pytest.raises(TroubleError, match=r"disagree on the primary: .*, ") as error:
            redis.primary()
        assert "2 say 127.0.0.1" in error.value.sentence
        finding = redis.sentinel(1)
        assert finding.state is State.WARNING
        assert "it does not know all 3 of them" in finding.text


def test_a_sentinel_that_knows_no_replica(cache: dict[str, Any]) -> None:
    with Topology(sentinels=1, sentinel_password="gu4rd") as alone:
        cache["OPTIONS"]["sentinels"] = [("127.0.0.1", alone.sentinels[0].port)]
        finding = redis.sentinel(1)
    assert finding.state is State.WARNING
    assert "nobody who could take over" in finding.text


def test_no_replica(topology: Topology) -> None:
    replica = next(server for server in topology.servers if server is not topology.primary)
    replica.kill()
    try:
        assert "No replica follows" in redis.replicas().text
        assert redis._lost_replicas(set()) == [f"127.0.0.1:{replica.port}"]
    finally:
        replica.start()
        topology.wait_ready()


def test_one_of_two_replicas_follows_nobody(cache: dict[str, Any]) -> None:
    with Topology(replicas=2, sentinels=1) as other:
        options = cache["OPTIONS"]
        options["sentinels"] = [("127.0.0.1", other.sentinels[0].port)]
        options["sentinel_kwargs"], options["password"] = {}, None
        assert redis.replicas().state is State.OK
        stray = other.servers[2]
        stray.client().replicaof("NO", "ONE")
        while other.primary.client().info("replication")["connected_slaves"] > 1:
            time.sleep(0.02)
        finding = redis.replicas()
    assert finding.state is State.WARNING
    assert finding.text.endswith(f"; lost: 127.0.0.1:{stray.port}.")


def test_a_replica_that_lags(topology: Topology, monkeypatch: pytest.MonkeyPatch) -> None:
    assert redis.replicas().state is State.OK
    monkeypatch.setattr(redis, "LAG_SECONDS", 1)  # usual on a busy machine: hence after that
    replica = next(server for server in topology.servers if server is not topology.primary)
    replica.pause()
    try:
        time.sleep(3.5)
        finding = redis.replicas()
    finally:
        replica.resume()
        topology.wait_ready()
    assert finding.state is State.WARNING
    assert f"127.0.0.1:{replica.port} online, lag " in finding.text


def test_the_primary_hangs_and_another_takes_over(topology: Topology) -> None:
    old = topology.primary
    old.pause()
    try:
        with pytest.raises(TroubleError, match=r"does not answer|disagree"):
            redis.primary()
        new = topology.wait_failover(old)
        assert redis.primary().text.endswith(f"at 127.0.0.1:{new.port}")
    finally:
        old.resume()
        topology.wait_ready()
