"""What the probes say of certificates."""

from collections.abc import Callable
from pathlib import Path

import pytest
from health_helpers import QUICK, trouble
from outlast.health import probes, redis
from tls import make_certificates, speak_tls

from tests.servers import Topology

Use = Callable[..., None]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificates(tmp_path_factory.mktemp("tls"))


def test_tls(redis_server: Topology, certificates: Path, use_cache: Use) -> None:
    port = speak_tls(redis_server.primary.port, certificates)
    use_cache(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificates / 'ca.pem'}")
    assert redis.server(QUICK)
    assert probes.cache_round_trip()
    use_cache(f"rediss://127.0.0.1:{port}/0")
    title = "SSL: unable to get local issuer certificate, self-signed certificate"
    assert "REDIS_CA_FILE=" in trouble(title)[1]
    use_cache(f"rediss://localhost:{port}/0?ssl_ca_certs={certificates / 'ca.pem'}")
    trouble("SSL: Hostname mismatch, IP address mismatch")
    use_cache(f"redis://127.0.0.1:{port}/0")
    assert "rediss://" in trouble("Connection closed by server")[1]


def test_an_expired_certificate(redis_server: Topology, use_cache: Use, tmp_path: Path) -> None:
    expired = make_certificates(tmp_path, expired=True)
    port = speak_tls(redis_server.primary.port, expired)
    use_cache(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={expired / 'ca.pem'}")
    trouble("SSL: certificate has expired")
