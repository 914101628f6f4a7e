"""What the probes find among Sentinels, replicas and a primary that changes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from outlast.health import redis, runner
from outlast.health.runner import Concern, Problem, State, run_probes
from tls import make_certificates, speak_tls

from tests.servers import Topology, wait_until

pytestmark = pytest.mark.slow

QUICK = 0.5  # seconds


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
    monkeypatch.setattr(runner, "_runs", {})
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


def ask_sentinel(number: int) -> str:
    return redis.services(QUICK)[number - 1].run()


def complaint() -> str:
    """Return what is wrong with the replicas."""
    try:
        redis.replicas()
    except Problem as problem:
        return str(problem)
    return ""


def test_healthy(topology: Topology) -> None:
    results = run_probes([*redis.services(QUICK), *redis.diagnostics()], 10)
    assert {result.state for result in results} == {State.OK}
    found = {result.name: result.text for result in results}
    assert list(found) == [
        *("sentinel 1", "sentinel 2", "sentinel 3", "redis", "redis replicas"),
    ]
    primary = topology.primary.port
    assert f"primary 127.0.0.1:{primary}, replicas 1, other Sentinels 2" in found["sentinel 1"]
    assert f"at 127.0.0.1:{primary}, " in found["redis"]
    replica = f"127.0.0.1:{topology.servers[1].port}"
    assert found["redis replicas"].startswith(f"{replica} online, lag ")


def test_one_sentinel_is_gone(topology: Topology) -> None:
    topology.sentinels[0].kill()
    try:
        with pytest.raises(Problem, match="Nothing listens at 127"):
            ask_sentinel(1)
        assert redis.server(QUICK), "two are enough to find the primary"
    finally:
        topology.sentinels[0].start()


def test_all_sentinels_hang(topology: Topology) -> None:
    for sentinel in topology.sentinels:
        sentinel.pause()
    try:
        with pytest.raises(Problem, match="None of the 3 Sentinels names a primary"):
            redis.server(QUICK)
        with pytest.raises(Problem, match="does not answer"):
            ask_sentinel(3)
    finally:
        for sentinel in topology.sentinels:
            sentinel.resume()
        topology.wait_ready()


def test_a_service_they_do_not_monitor(cache: dict[str, Any]) -> None:
    cache["LOCATION"] = "redis://SomeService/0"
    with pytest.raises(Problem, match="does not monitor a service with that name") as error:
        ask_sentinel(1)
    assert "REDIS_SENTINEL_SERVICE" in error.value.remedies[0]
    with pytest.raises(Problem, match="names a primary for 'SomeService'"):
        redis.server(QUICK)


def test_wrong_passwords(cache: dict[str, Any]) -> None:
    cache["OPTIONS"]["password"] = "wr0ng"  # noqa: S105
    with pytest.raises(Problem, match=r"Redis at .* refuses") as error:
        redis.server(QUICK)
    assert "REDIS_PASSWORD" in error.value.remedies[0]
    cache["OPTIONS"]["sentinel_kwargs"] = {"password": "wr0ng"}
    with pytest.raises(Problem, match=r"The Sentinel at .* refuses") as error:
        ask_sentinel(1)
    assert "REDIS_SENTINEL_PASSWORD" in error.value.remedies[0]


def test_a_sentinel_of_another_topology(cache: dict[str, Any]) -> None:
    with Topology(sentinels=1, sentinel_password="gu4rd") as other:  # noqa: S106
        sentinels = cache["OPTIONS"]["sentinels"]
        sentinels[0] = ("127.0.0.1", other.sentinels[0].port)
        with pytest.raises(Problem, match=r"disagree on the primary: .*2 name 127\.0") as error:
            redis.server(QUICK)
        assert "restart the Sentinels in the minority" in error.value.remedies[1]
        with pytest.raises(Concern, match=f"{other.primary.port}.*does not know all 3 of them"):
            ask_sentinel(1)


def test_no_replica(topology: Topology) -> None:
    replica = next(server for server in topology.servers if server is not topology.primary)
    replica.kill()
    try:
        wait_until(lambda: complaint().startswith("No replica follows"), "the loss to be noticed")
    finally:
        replica.start()
        topology.wait_ready()


@pytest.mark.parametrize("is_killed", [True, False])
def test_one_of_two_replicas_is_gone(is_killed: bool, cache: dict[str, Any]) -> None:
    with Topology(replicas=2, sentinels=1) as other:
        sentinels = [("127.0.0.1", other.sentinels[0].port)]
        cache["OPTIONS"] = {"sentinels": sentinels}
        wait_until(lambda: not complaint(), "both to follow")
        gone = other.servers[2]
        gone.kill() if is_killed else gone.client().replicaof("NO", "ONE")
        missing = f"; missing: 127.0.0.1:{gone.port}."
        wait_until(lambda: complaint().endswith(missing), "the loss to be noticed")


def test_a_replica_is_late(topology: Topology, monkeypatch: pytest.MonkeyPatch) -> None:
    primary = topology.primary
    replica = next(server for server in topology.servers if server is not primary)
    wait_until(lambda: not complaint(), "it to follow")
    replica.pause()
    try:
        primary.client().set("large", "x" * 900_000)
        assert not complaint(), "less than 1 MB"
        primary.client().set("large", "x" * 200_000)
        with pytest.raises(Concern, match="bytes behind") as error:
            redis.replicas()
        assert error.value.remedies == ("Check that it runs and can reach the primary",)
        monkeypatch.setattr(redis, "LAG_BYTES", 1e9)
        assert not complaint()
        monkeypatch.setattr(redis, "LAG_SECONDS", 0)
        wait_until(complaint, "a lag of a second")
    finally:
        replica.resume()
        topology.wait_ready()


def test_the_primary_hangs_and_another_takes_over(topology: Topology) -> None:
    old = topology.primary
    old.pause()
    try:
        with pytest.raises(Problem, match=r"does not answer|None of the 3|disagree"):
            redis.server(QUICK)
        new = topology.wait_failover(old)
        assert f"at 127.0.0.1:{new.port}, " in redis.server(QUICK)
    finally:
        old.resume()
        topology.wait_ready()


def test_tls_to_the_sentinels(topology: Topology, cache: dict[str, Any], tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path)
    ports = [speak_tls(sentinel.port, certificates) for sentinel in topology.sentinels]
    cache["OPTIONS"]["sentinels"] = [("127.0.0.1", port) for port in ports]
    with pytest.raises(Problem, match="closes the connection at once") as plain:
        ask_sentinel(1)
    assert "set REDIS_TLS=1" in plain.value.remedies[0]
    cache["OPTIONS"]["sentinel_kwargs"] |= {"ssl": True}
    with pytest.raises(Problem, match="an authority that is not trusted") as unknown:
        ask_sentinel(1)
    assert unknown.value.remedies == ("Trust the authority: REDIS_CA_FILE=/path/ca.pem",)
    cache["OPTIONS"]["sentinel_kwargs"] |= {"ssl_ca_certs": str(certificates / "ca.pem")}
    assert ask_sentinel(1)
    assert redis.server(QUICK)
