"""TLS to servers and to Sentinels, with an authority of its own."""

import asyncio
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from caches import forget_clients
from outlast.cache import RedisCache, Unavailable
from outlast.channels.redis import PubSubLayer
from tls import speak_tls

from tests.servers import SERVICE, Server, ServerError, Topology, quoted, wait_until

KINDS = [kind for kind in ("redis", "valkey") if shutil.which(f"{kind}-server")]


class EncryptedTopology(Topology):
    """Servers and Sentinels that speak TLS only, with the files in a folder."""

    def __init__(self, folder: Path, *args: Any, **options: Any) -> None:
        self.tls = folder
        super().__init__(*args, **options)

    def client_options(self) -> dict[str, Any]:
        return {"ssl": True, "ssl_ca_certs": str(self.tls / "ca.pem")}

    def lines_of(self, server: Server) -> list[str]:
        files = {"cert": "cert.pem", "key": "key.pem", "ca-cert": "ca.pem"}
        lines = [f"tls-{name}-file {quoted(self.tls / file)}" for name, file in files.items()]
        lines += ["tls-replication yes", "tls-cluster yes", "tls-auth-clients optional"]
        return ["port 0", f"tls-port {server.port}", *lines]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority, a server's certificate, a client's, and bad ones."""
    folder = tmp_path_factory.mktemp("tls")
    ours, other = trustme.CA(), trustme.CA()
    ours.cert_pem.write_to_path(folder / "ca.pem")
    other.cert_pem.write_to_path(folder / "other-ca.pem")
    expired = datetime.now(UTC) - timedelta(days=1)
    for name, certificate in {
        "": ours.issue_cert("127.0.0.1"),
        "client-": ours.issue_cert("site@example.com"),
        "named-": ours.issue_cert("redis.example.com"),
        "expired-": ours.issue_cert("127.0.0.1", not_after=expired),
    }.items():
        certificate.private_key_pem.write_to_path(folder / f"{name}key.pem")
        certificate.cert_chain_pems[0].write_to_path(folder / f"{name}cert.pem")
    return folder


@pytest.fixture(scope="module", params=KINDS)
def quorum(request: pytest.FixtureRequest, authority: Path) -> Iterator[Topology]:
    try:
        topology = EncryptedTopology(authority, 1, 3, request.param)
    except ServerError as error:
        pytest.skip(f"{request.param}-server does not speak TLS: {error}")
    with topology:
        yield topology


def cache_of(quorum: Topology, authority: Path, sentinel: bool = True, **own: Any) -> RedisCache:
    forget_clients()
    tls = {"ssl_ca_certs": str(authority / "ca.pem"), **own}
    sentinels = [("127.0.0.1", each.port) for each in quorum.sentinels]
    options = {"sentinels": sentinels, "sentinel_kwargs": {"ssl": True, **tls}, **tls}
    return RedisCache(f"rediss://{SERVICE}/0", {"OPTIONS": options})


def test_servers_and_sentinels(quorum: Topology, authority: Path) -> None:
    client = {
        "ssl_certfile": str(authority / "client-cert.pem"),
        "ssl_keyfile": str(authority / "client-key.pem"),
    }
    for own in ({}, client):
        cache = cache_of(quorum, authority, **own)
        cache.strict.set("k", own)
        assert cache.strict.get("k") == own


async def echo(layer: PubSubLayer, times: int = 60) -> Any:
    """Send until a message is heard: what is sent before the first connection is made is lost."""
    channel = await layer.new_channel()
    receiving = asyncio.create_task(layer.receive(channel))
    for _ in range(times):
        await layer.send(channel, {"type": "hello"})
        if (await asyncio.wait([receiving], timeout=0.5))[0]:
            return receiving.result()
    receiving.cancel()  # which closes the channel: nothing that is sent later would arrive
    raise TimeoutError


def test_live_messages(quorum: Topology, authority: Path) -> None:
    options = cache_of(quorum, authority)._options
    layer = PubSubLayer([{"address": f"rediss://{SERVICE}/0", **options}], "site")
    assert asyncio.run(echo(layer)) == {"type": "hello"}
    options["sentinel_kwargs"] = {}
    layer = PubSubLayer([{"address": f"rediss://{SERVICE}/0", **options}], "site")
    with pytest.raises(TimeoutError):
        asyncio.run(echo(layer, 6))
    assert "No master found" in str(layer.last_error)


def test_a_cluster(authority: Path) -> None:
    forget_clients()
    with EncryptedTopology(authority, kind="redis", shards=3, password="s3cret") as cluster:
        nodes = [f"rediss://127.0.0.1:{node.port}" for node in cluster.servers]
        tls = {"ssl_ca_certs": str(authority / "ca.pem"), "password": "s3cret", "cluster": True}
        cache = RedisCache(nodes, {"OPTIONS": tls})
        values = {f"k{n}": n for n in range(30)}
        wait_until(lambda: cache.set_many(values) == [], "the first connections")
        assert len(cache.strict.get_many([f"k{n}" for n in range(30)])) == 30
        layer = PubSubLayer([{"address": nodes, **tls}], "site")
        assert asyncio.run(echo(layer)) == {"type": "hello"}
        wrong = RedisCache(nodes, {"OPTIONS": tls | {"ssl_ca_certs": None}})

        def error() -> str:
            with pytest.raises(Unavailable) as caught:
                wrong.strict.get("k1")
            return str(caught.value)

        wait_until(lambda: "certificate verify failed" in error(), "the refusal")
        assert "s3cret" not in error()


def test_a_server_that_demands_a_certificate(quorum: Topology, authority: Path) -> None:
    with quorum.primary.client() as client:
        client.config_set("tls-auth-clients", "yes")
        with pytest.raises(Unavailable):
            cache_of(quorum, authority).strict.get("k")
        client.config_set("tls-auth-clients", "optional")


def test_sentinels_without_tls_are_not_asked_with_it(quorum: Topology, authority: Path) -> None:
    cache = cache_of(quorum, authority)
    cache._options["sentinel_kwargs"] = {}
    with pytest.raises(Unavailable, match="No master found"):
        cache.strict.get("k")


@pytest.mark.parametrize(
    ("certificate", "trusted", "reason"),
    [
        ("", "other-ca.pem", "self-signed certificate|unable to get local issuer"),
        ("expired-", "ca.pem", "certificate has expired"),
        ("named-", "ca.pem", "IP address mismatch"),
    ],
)
def test_a_certificate_that_is_not_trusted(
    authority: Path, tmp_path: Path, certificate: str, trusted: str, reason: str
) -> None:
    for part in ("cert.pem", "key.pem"):
        shutil.copy(authority / f"{certificate}{part}", tmp_path / part)
    with Topology() as server:
        port = speak_tls(server.primary.port, tmp_path)
        options = {"ssl_ca_certs": str(authority / trusted), "password": "s3cret"}
        cache = RedisCache(f"rediss://127.0.0.1:{port}/0", {"OPTIONS": options})
        with pytest.raises(Unavailable, match=reason) as caught:
            cache.strict.get("k")
        assert "s3cret" not in str(caught.value)
