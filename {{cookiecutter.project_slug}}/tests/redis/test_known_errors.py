"""Every error of Redis that the site knows, provoked on a real server and put into words."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from outlast.advice import TroubleError
from outlast.probes import Probe, State, local, redis
from outlast.probes.base import ask
from outlast.servers import Server, Topology, quoted
from redis.sentinel import MasterNotFoundError, Sentinel

from tests.redis.tls import make_certificates, speak_tls
from tests.troubleshooting import is_listed, listed, not_provoked

pytestmark = pytest.mark.any_redis

Use = Callable[..., None]
# Microseconds for each key; and an answer now and then meanwhile.
SLOW_TO_LOAD = ["key-load-delay 500", "loading-process-events-interval-bytes 1024"]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def server(stack: ExitStack) -> Server:
    return stack.enter_context(Topology()).primary


@pytest.fixture
def use(settings: Any) -> Use:
    """A function that points the site at an address, or at Sentinels."""

    def use(location: str, **options: Any) -> None:
        settings.CACHES = {
            "default": {
                "BACKEND": "outlast.cache.RedisCache",
                "LOCATION": location,
                "KEY_PREFIX": "here",
                "OPTIONS": options,
            }
        }

    return use


def trouble(heading: str) -> tuple[str, str]:
    """Return the sentence and the remedies of what is wrong with the primary.

    `heading`: under which docs/troubleshooting.md has to list the error.
    """
    with pytest.raises(TroubleError) as error:
        redis.primary()
    cause = str(error.value.__cause__)
    assert is_listed(cause, "Redis", heading), cause
    return error.value.sentence, "\n".join(error.value.remedies)


def test_every_error_that_is_listed_is_provoked_here() -> None:
    source = Path(__file__).read_text("utf-8")
    assert len(listed("Redis")) > 15
    assert not not_provoked("Redis", source)


def url(server: Server, login: str = "", number: int = 0) -> str:
    return f"redis://{login}127.0.0.1:{server.port}/{number}"


def test_all_well(server: Server, use: Use) -> None:
    use(url(server))
    finding = redis.primary()
    assert finding.state is State.OK
    assert finding.text.endswith(f"at 127.0.0.1:{server.port}")
    for examine in (redis.memory, redis.persistence, redis.connections, redis.clock):
        assert examine().state is State.OK


def test_more_workers_than_connections(stack: ExitStack, use: Use, settings: Any) -> None:
    server = stack.enter_context(Topology(lines=["maxclients 100"])).primary
    use(url(server) + "?max_connections=40")
    settings.OUTLAST = settings.OUTLAST | {"WORKERS": 2}
    assert redis.connections().state is State.OK
    settings.OUTLAST = settings.OUTLAST | {"WORKERS": 3}
    finding = redis.connections()
    assert finding.state is State.WARNING
    assert "the site may open 120 (3 x 40): more than it allows" in finding.text


def test_an_address_that_is_none(use: Use) -> None:
    use("redis://:p4/ss@127.0.0.1:6379/0")
    (result,) = ask([Probe("redis", redis.primary)], 5)
    assert "(REDIS_URL) cannot be read" in result.finding.text
    assert "p4" not in str(result)


def test_nothing_listens(server: Server, use: Use) -> None:
    server.kill()
    use(url(server))
    sentence, remedies = trouble("Error 10061 connecting to localhost:6379")
    assert sentence == (
        f"Nothing listens at 127.0.0.1:{server.port}: Redis is not running, or runs elsewhere."
    )
    assert "python manage.py devredis" in remedies
    assert "DJANGO_PROFILE=database" in remedies


@pytest.mark.skipif("sys.platform == 'win32'", reason="Windows has no such sockets in redis-py")
def test_no_such_unix_socket(use: Use) -> None:
    use("unix:///no/such/redis.sock?db=0")
    assert trouble("Error 2 connecting to a Unix socket")[0].startswith(
        "Nothing listens at /no/such/redis.sock"
    )


def test_unknown_host(use: Use) -> None:
    use("redis://no-such-host.invalid:6379/0")
    sentence, remedies = trouble("Error 11001, -2 or 8: the name of the host")
    assert sentence == "This machine knows no host of the name in no-such-host.invalid:6379."
    assert remedies == "Correct REDIS_URL"


def test_hung(server: Server, use: Use) -> None:
    use(url(server))
    server.pause()
    sentence, remedies = trouble("Timeout reading from localhost:6379")
    assert "takes the connection and does not answer" in sentence
    assert "docker restart" in remedies
    assert "DJANGO_PROFILE=database" in remedies


def test_connections_that_go_nowhere(use: Use) -> None:
    """A full queue, since no test can rely on an address that a firewall drops."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        use(f"redis://127.0.0.1:{listener.getsockname()[1]}/0")
        assert "cannot be reached in time" in trouble("Timeout connecting to server")[0]


def test_wrong_password(stack: ExitStack, use: Use) -> None:
    server = stack.enter_context(Topology(password="right")).primary
    use(url(server, ":wrong-one@"))
    sentence, remedies = trouble("invalid username-password pair or user is disabled")
    assert sentence == f"Redis at 127.0.0.1:{server.port} refuses the user name or the password."
    assert "wrong-one" not in sentence + remedies


def test_no_password(stack: ExitStack, use: Use) -> None:
    use(url(stack.enter_context(Topology(password="right")).primary))
    assert "wants a password, and none is set" in trouble("Authentication required")[0]


def test_password_that_nobody_wants(server: Server, use: Use) -> None:
    use(url(server, ":s3cret@") + "?protocol=2")  # the newer one takes any
    assert (
        "has no password, yet one is set here"
        in trouble("AUTH called without any password configured")[0]
    )


def test_a_user_without_the_rights(stack: ExitStack, use: Use) -> None:
    lines = ["user site on >right ~elsewhere:* &* +@all"]
    server = stack.enter_context(Topology(lines=lines)).primary
    use(url(server, "site:right@"))
    sentence, remedies = trouble("User has no permissions")
    assert "may not do what the site does" in sentence
    assert "deploy/" in remedies


def test_number_of_no_database(server: Server, use: Use) -> None:
    use(url(server, number=99))
    assert "has no database of the number in the address" in trouble("DB index is out of range")[0]


def test_a_replica(stack: ExitStack, use: Use) -> None:
    use(url(stack.enter_context(Topology(replicas=1)).servers[1]))
    sentence, remedies = trouble("You can't write against a read only replica")
    assert "is a replica and takes no writes" in sentence
    assert "redis-sentinel" in remedies


def test_full(stack: ExitStack, use: Use) -> None:
    lines = ["maxmemory 100mb", "maxmemory-policy noeviction"]
    server = stack.enter_context(Topology(lines=lines)).primary
    use(url(server))
    assert redis.memory().state is State.WARNING, "a warning in time"
    with server.client() as client:
        client.config_set("maxmemory", 1)
    sentence, remedies = trouble("OOM command not allowed when used memory > 'maxmemory'")
    assert "is full, and its maxmemory-policy lets it evict nothing" in sentence
    assert "maxmemory-policy allkeys-lru" in remedies


def test_it_evicts_all_the_time(stack: ExitStack, use: Use) -> None:
    lines = ["maxmemory 4mb", "maxmemory-policy allkeys-lru"]
    server = stack.enter_context(Topology(lines=lines)).primary
    use(url(server))
    with server.client() as client:
        for number in range(800):
            client.set(f"k{number}", "x" * 10_000)
    finding = redis.memory()
    assert finding.state is State.WARNING
    assert "it drops entries all the time" in finding.text
    assert "4.2 MB, policy allkeys-lru" in finding.text


def test_messages_that_do_not_arrive(
    server: Server, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.kill()
    config = {"hosts": [url(server)], "prefix": "x"}
    settings.CHANNEL_LAYERS = {"default": settings.CHANNEL_LAYERS["default"] | {"CONFIG": config}}
    monkeypatch.setattr(local, "SECONDS", 0.5)
    finding = local.message_round_trip()
    assert finding.state is State.DOWN
    assert "did not come back within 0.5 s through PubSubLayer" in finding.text


def test_messages_that_a_password_stops(server: Server, use: Use, settings: Any) -> None:
    """The cache speaks a newer protocol, in which a server without a password takes any."""
    location = url(server, ":s3cret@")
    use(location)
    config = {"hosts": [location], "prefix": "x"}
    settings.CHANNEL_LAYERS = {"default": settings.CHANNEL_LAYERS["default"] | {"CONFIG": config}}
    assert redis.primary().state is State.OK
    finding = local.message_round_trip()
    assert finding.state is State.DOWN
    assert "live events will not arrive. Redis at 127.0.0.1" in finding.text
    assert "has no password, yet one is set here" in finding.text
    assert finding.remedies == (
        "Take the password out of REDIS_URL, or set one there (requirepass)",
    )
    assert "s3cret" not in finding.text


def test_it_cannot_save(stack: ExitStack, use: Use, tmp_path: Path) -> None:
    lines = [f"dir {quoted(tmp_path)}", "dbfilename taken", "save 1 1"]
    server = stack.enter_context(Topology(lines=lines)).primary
    use(url(server))
    (tmp_path / "taken").mkdir()  # in the place of the file
    (tmp_path / "taken" / "x").touch()
    with server.client() as client:
        client.set("a", 1)
        client.bgsave()
        while client.info("persistence")["rdb_bgsave_in_progress"]:
            pass
    assert (
        "cannot save to its disk and therefore refuses writes"
        in trouble("MISCONF Redis is configured to save RDB snapshots")[0]
    )
    assert redis.persistence().state is State.WARNING


def test_loading(stack: ExitStack, use: Use) -> None:
    server = stack.enter_context(Topology(lines=SLOW_TO_LOAD)).primary
    with server.client() as client:
        client.mset({f"k{number}": "" for number in range(20_000)})
        client.save()
    server.start(wait=False)
    use(url(server))
    # Before, nothing listens, or the port is open and nobody answers yet.
    for _ in range(200):
        with pytest.raises(TroubleError) as error:
            redis.primary()
        if "is loading its data from disk" in error.value.sentence:
            break
    heading = "Redis is loading the dataset in memory"
    assert is_listed(str(error.value.__cause__), "Redis", heading)


def test_no_connection_left(stack: ExitStack, use: Use) -> None:
    server = stack.enter_context(Topology(lines=["maxclients 3"])).primary
    use(url(server))
    clients = [stack.enter_context(server.client()) for _ in range(3)]
    with contextlib.suppress(Exception):
        for client in clients:
            client.ping()
    assert (
        "has no connection left: maxclients is reached"
        in trouble("max number of clients reached")[0]
    )


def test_not_a_redis(use: Use) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    with client:
                        client.recv(1000)
                        client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        port = listener.getsockname()[1]
        use(f"redis://127.0.0.1:{port}/0")
        assert trouble("Protocol Error")[0] == f"What listens at 127.0.0.1:{port} is not a Redis."
        use(f"rediss://127.0.0.1:{port}/0")
        assert (
            trouble("SSL: WRONG_VERSION_NUMBER, record layer failure")[0]
            == f"What listens at 127.0.0.1:{port} does not speak TLS."
        )
        listener.shutdown(socket.SHUT_RDWR)


def test_sentinels_of_another_service(stack: ExitStack, use: Use) -> None:
    topology = stack.enter_context(Topology(replicas=0, sentinels=1))
    port = topology.sentinels[0].port
    use("redis://somebody/0", sentinels=[("127.0.0.1", port)])
    with pytest.raises(TroubleError, match="watches no service of that name") as error:
        redis.sentinel(1)
    heading = "No such master with that name"
    assert is_listed(str(error.value.__cause__), "Redis", heading)
    sentinels = Sentinel([("127.0.0.1", port)], socket_timeout=1)
    with pytest.raises(MasterNotFoundError) as not_found:
        sentinels.master_for("somebody").ping()
    assert is_listed(str(not_found.value), "Redis", "No master found for 'mymaster'")


# --- TLS ---


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def tls_port(server: Server, certificates: Path) -> int:
    return speak_tls(server.port, certificates)


def test_tls(tls_port: int, certificates: Path, use: Use, settings: Any) -> None:
    url = f"rediss://127.0.0.1:{tls_port}/0?ssl_ca_certs={certificates / 'ca.pem'}"
    use(url)
    assert redis.primary().state is State.OK
    assert local.cache_round_trip().state is State.OK
    layer = settings.CHANNEL_LAYERS["default"] | {"CONFIG": {"hosts": [url], "prefix": "x"}}
    settings.CHANNEL_LAYERS = {"default": layer}
    assert local.message_round_trip().state is State.OK


def test_certificate_of_nobody_we_trust(tls_port: int, use: Use) -> None:
    use(f"rediss://127.0.0.1:{tls_port}/0")
    sentence, remedies = trouble("SSL: CERTIFICATE_VERIFY_FAILED")
    assert "certificate of Redis" in sentence and "is not trusted here" in sentence
    assert "ssl_ca_certs=" in remedies


def test_tls_that_we_do_not_speak(tls_port: int, use: Use) -> None:
    use(f"redis://127.0.0.1:{tls_port}/0")
    sentence, remedies = trouble("Connection closed by server")
    assert "it wants TLS" in sentence
    assert "rediss://" in remedies
