"""What the probes find among Sentinels, replicas and a primary that changes."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from outlast.health import asking, redis
from outlast.health.asking import State, ask
from outlast.health.errors import ServiceError
from outlast.servers import Topology
from tls import make_certificates, speak_tls

pytestmark = pytest.mark.slow

QUICK = redis.Timeouts(0.5, 0.5)


@pytest.fixture(scope="module")
def topology() -> Iterator[Topology]:
    with Topology(
        replicas=1,
        sentinels=3,
        password="s3cret",  # noqa: S106
        sentinel_password="gu4rd",  # noqa: S106
    ) as topology:
        yield topology


@pytest.fixture(autouse=True)
def cache(topology: Topology, settings: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The setting of the cache, which names the Sentinels of the topology."""
    monkeypatch.setattr(asking, "_questions", {})
    cache = {
        "BACKEND": "outlast.cache.RedisCache",
        "LOCATION": "redis://mymaster/0",
        "KEY_PREFIX": "here",
        "OPTIONS": {
            "sentinels": [("127.0.0.1", sentinel.port) for sentinel in topology.sentinels],
            "sentinel_kwargs": {"password": "gu4rd"},
            "password": "s3cret",
        },
    }
    settings.CACHES = {"default": cache}
    return cache


def test_healthy(topology: Topology) -> None:
    results = ask([*redis.services(QUICK), *redis.diagnostics()], 10)
    assert {result.state for result in results} == {State.OK}
    found = {result.name: result.text for result in results}
    assert list(found) == [
        *("sentinel 1", "sentinel 2", "sentinel 3", "redis"),
        *("redis memory", "redis replicas"),
    ]
    primary = topology.primary.port
    assert f"primary 127.0.0.1:{primary}, replicas 1, other Sentinels 2" in found["sentinel 1"]
    assert found["redis"].endswith(f"at 127.0.0.1:{primary}")
    assert "online, lag " in found["redis replicas"]


def test_one_sentinel_is_gone(topology: Topology) -> None:
    topology.sentinels[0].kill()
    try:
        with pytest.raises(ServiceError, match="Nothing listens at 127"):
            redis.sentinel(1, QUICK)
        assert redis.server(QUICK).state is State.OK, "two are enough to find the primary"
    finally:
        topology.sentinels[0].start()


def test_all_sentinels_hang(topology: Topology) -> None:
    for sentinel in topology.sentinels:
        sentinel.pause()
    try:
        with pytest.raises(ServiceError, match="None of the 3 Sentinels names a primary"):
            redis.server(QUICK)
        with pytest.raises(ServiceError, match="does not answer"):
            redis.sentinel(3, QUICK)
    finally:
        for sentinel in topology.sentinels:
            sentinel.resume()
        topology.wait_ready()


def test_a_service_they_do_not_monitor(cache: dict[str, Any]) -> None:
    cache["LOCATION"] = "redis://SomeService/0"
    with pytest.raises(ServiceError, match="monitors no service of that name") as error:
        redis.sentinel(1, QUICK)
    assert "REDIS_SENTINEL_SERVICE" in error.value.remedies[0]
    with pytest.raises(ServiceError, match="names a primary for 'SomeService'"):
        redis.server(QUICK)


def test_wrong_passwords(cache: dict[str, Any]) -> None:
    cache["OPTIONS"]["password"] = "wr0ng"  # noqa: S105
    with pytest.raises(ServiceError, match=r"Redis at .* refuses") as error:
        redis.server(QUICK)
    assert "REDIS_PASSWORD" in error.value.remedies[0]
    cache["OPTIONS"]["sentinel_kwargs"] = {"password": "wr0ng"}
    with pytest.raises(ServiceError, match=r"The Sentinel at .* refuses") as error:
        redis.sentinel(1, QUICK)
    assert "REDIS_SENTINEL_PASSWORD" in error.value.remedies[0]


def test_a_sentinel_of_another_topology(cache: dict[str, Any]) -> None:
    with Topology(sentinels=1, sentinel_password="gu4rd") as other:  # noqa: S106
        sentinels = cache["OPTIONS"]["sentinels"]
        sentinels[0] = ("127.0.0.1", other.sentinels[0].port)
        with pytest.raises(ServiceError, match=r"disagree on the primary: .*2 name 127\.0\.0\.1"):
            redis.server(QUICK)
        finding = redis.sentinel(1, QUICK)
        assert (finding.state, "does not know all 3" in finding.text) == (State.WARNING, True)


def test_no_replica(topology: Topology) -> None:
    replica = next(server for server in topology.servers if server is not topology.primary)
    replica.kill()
    try:
        assert "No replica follows" in redis.replicas().text
    finally:
        replica.start()
        topology.wait_ready()


def test_one_of_two_replicas_follows_nothing(cache: dict[str, Any]) -> None:
    with Topology(replicas=2, sentinels=1) as other:
        sentinels = [("127.0.0.1", other.sentinels[0].port)]
        cache["OPTIONS"] = {"sentinels": sentinels}
        assert redis.replicas().state is State.OK
        stray = other.servers[2]
        stray.client().replicaof("NO", "ONE")
        while other.primary.client().info("replication")["connected_slaves"] > 1:
            time.sleep(0.02)
        finding = redis.replicas()
    assert finding.state is State.WARNING
    assert finding.text.endswith(f"; missing: 127.0.0.1:{stray.port}.")


def test_the_primary_hangs_and_another_takes_over(topology: Topology) -> None:
    old = topology.primary
    old.pause()
    try:
        with pytest.raises(ServiceError, match=r"does not answer|disagree"):
            redis.server(QUICK)
        new = topology.wait_failover(old)
        assert redis.server(QUICK).text.endswith(f"at 127.0.0.1:{new.port}")
    finally:
        old.resume()
        topology.wait_ready()


def test_tls_to_the_sentinels(topology: Topology, cache: dict[str, Any], tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path)
    ports = [speak_tls(sentinel.port, certificates) for sentinel in topology.sentinels]
    cache["OPTIONS"]["sentinels"] = [("127.0.0.1", port) for port in ports]
    with pytest.raises(ServiceError, match="closes the connection at once") as plain:
        redis.sentinel(1, QUICK)
    assert "set REDIS_TLS=1" in plain.value.remedies[0]
    cache["OPTIONS"]["sentinel_kwargs"] |= {"ssl": True}
    with pytest.raises(ServiceError, match="an authority that is not trusted") as unknown:
        redis.sentinel(1, QUICK)
    assert unknown.value.remedies == ("Trust the authority: REDIS_CA_FILE=/path/ca.pem",)
    cache["OPTIONS"]["sentinel_kwargs"] |= {"ssl_ca_certs": str(certificates / "ca.pem")}
    assert redis.sentinel(1, QUICK).state is State.OK
    assert redis.server(QUICK).state is State.OK
