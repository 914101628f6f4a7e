"""What the probes say of one Redis or a cluster: errors provoked on real servers, in words."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from health_helpers import QUICK, trouble
from outlast.health import DOCTOR_SECONDS, probes, redis, services
from outlast.health.errors import explain
from outlast.health.runner import Concern, Problem
from redis import Redis
from redis.exceptions import MovedError

from tests.servers import Server, Topology, quoted, wait_until

Use = Callable[..., None]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def server(stack: ExitStack) -> Server:
    return stack.enter_context(Topology()).primary


def url(server: Server, login: str = "", number: int = 0) -> str:
    return f"redis://{login}127.0.0.1:{server.port}/{number}"


def test_healthy(server: Server, use_cache: Use, monkeypatch: pytest.MonkeyPatch) -> None:
    use_cache(url(server))
    assert f" at 127.0.0.1:{server.port}, " in redis.server(QUICK)
    told = {"redis_version": "7.4.0"}  # Redis Cloud does not tell its limit
    monkeypatch.setattr(Redis, "info", lambda self: told)
    assert redis.server(QUICK).endswith("0.0 MB used")


def test_nothing_listens(server: Server, use_cache: Use) -> None:
    server.kill()
    use_cache(url(server))
    sentence, remedies = trouble("Error 10061 connecting to localhost:6379")
    assert f"127.0.0.1:{server.port}: Redis is not running" in sentence
    assert "DJANGO_PROFILE=database" in remedies


@pytest.mark.parametrize("seconds", [0.5, None])
def test_a_port_that_is_slow_to_refuse(seconds: float | None, use_cache: Use) -> None:
    """As on Windows, where the answer that nothing listens takes two seconds."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port = listener.getsockname()[1]
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        use_cache(f"redis://127.0.0.1:{port}/0")
        if seconds:
            threading.Timer(seconds, listener.close).start()
            probe: Any = services(DOCTOR_SECONDS)[-1]
            assert probe.run.args[0] > 2, "Windows takes so long"
            with pytest.raises(Problem) as error:
                probe.run()
            sentence, remedies = str(error.value), "\n".join(error.value.remedies)
        else:
            sentence, remedies = trouble("Timeout connecting to server, on this machine")
        assert sentence.startswith(f"Nothing listens at 127.0.0.1:{port}")
        assert "devredis" in remedies


@pytest.mark.skipif("sys.platform == 'win32'", reason="redis-py has no such sockets on Windows")
def test_no_such_unix_socket(use_cache: Use) -> None:
    use_cache("unix:///no/such/redis.sock?db=0")
    sentence, _ = trouble("Error 2 connecting to a Unix socket")
    assert sentence.startswith("There is no socket at /no/such/redis.sock")


def test_unknown_host(use_cache: Use) -> None:
    use_cache("redis://no-such-host.invalid:6379/0")
    sentence, remedies = trouble("Error 11001, -2 or 8: the name of the host")
    assert sentence == "Cannot resolve the host name in no-such-host.invalid:6379."
    assert remedies == "Correct REDIS_URL"


def test_hung(server: Server, use_cache: Use) -> None:
    use_cache(url(server))
    server.pause()
    assert "docker restart" in trouble("Timeout reading from localhost:6379")[1]


@pytest.mark.parametrize(
    ("started", "login", "path", "title", "remedy"),
    [
        (
            {"password": "right"}, ":wrong-one@", "/0",
            "invalid username-password pair or user is disabled", "Correct them in REDIS_URL",
        ),
        ({"password": "right"}, "", "/0", "Authentication required", "Set it in REDIS_URL"),
        (
            {}, ":wrong-one@", "/0?protocol=2",  # the newer one takes any
            "AUTH called without any password configured", "requirepass",
        ),
        (
            {"lines": ["user site on >right ~elsewhere:* &* +@all"]}, "site:right@", "/0",
            "User has no permissions", "deploy/users.conf",
        ),
        ({}, "", "/99", "DB index is out of range", "Write /0 at the end of REDIS_URL"),
        (
            {"lines": ["maxmemory 1", "maxmemory-policy noeviction"]}, "", "/0",
            "OOM command not allowed when used memory > 'maxmemory'", "allkeys-lru",
        ),
    ],
)  # fmt: skip
def test_a_server_that_refuses(
    started: dict[str, Any], login: str, path: str, title: str, remedy: str, use_cache: Use
) -> None:
    with Topology(**started) as topology:
        use_cache(f"redis://{login}127.0.0.1:{topology.primary.port}{path}")
        sentence, remedies = trouble(title)
    assert remedy in remedies
    assert "wrong-one" not in sentence + remedies


def test_a_replica(stack: ExitStack, use_cache: Use) -> None:
    use_cache(url(stack.enter_context(Topology(replicas=1)).servers[1]))
    assert "redis-sentinel" in trouble("You can't write against a read only replica")[1]


def test_a_node_of_a_cluster(stack: ExitStack, use_cache: Use) -> None:
    use_cache(url(stack.enter_context(Topology(lines=["cluster-enabled yes"])).primary))
    with pytest.raises(Problem, match="is a node of a Redis Cluster") as error:
        redis.server(QUICK)
    assert "DJANGO_PROFILE=redis-cluster" in error.value.remedies[0]
    assert explain(MovedError("3999 127.0.0.1:6381"))[0] == str(error.value)


def test_a_cluster_that_loses_nodes(stack: ExitStack, use_cache: Use) -> None:
    cluster = stack.enter_context(Topology(1, shards=3))
    first, *_, last = cluster.servers
    use_cache([url(first), url(last)], cluster=True)
    (probe,) = redis.services(QUICK)

    def said() -> str:
        try:
            return f"ok {probe.run()}"
        except Problem as problem:
            return f"{problem.state} {problem}"

    assert said() == "ok cluster of 6 nodes, state ok"
    first.pause()
    assert said().startswith("ok cluster of 6 nodes"), "another node answers"
    first.resume()
    last.kill()
    lost = f"warning cluster of 6 nodes, state ok; lost: 127.0.0.1:{last.port}."
    wait_until(lambda: said() == lost, "the loss to be noticed")
    cluster.servers[2].kill()
    wait_until(lambda: said().startswith("down"), "the cluster to give up")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["maxmemory 0"], "used, no limit: it can grow"),
        (["maxmemory 100mb", "maxmemory-policy noeviction"], "it refuses writes"),
    ],
)
def test_memory_without_limit_or_eviction(lines: list[str], said: str, use_cache: Use) -> None:
    with Topology(lines=lines) as topology:
        use_cache(url(topology.primary))
        with pytest.raises(Concern, match=said):
            redis.server(QUICK)


def test_no_connections_left(stack: ExitStack, use_cache: Use) -> None:
    server = stack.enter_context(Topology(lines=["maxclients 3"])).primary
    use_cache(url(server))
    for _ in range(3):
        stack.enter_context(server.client()).ping()
    trouble("max number of clients reached")


def test_it_cannot_save(stack: ExitStack, use_cache: Use, tmp_path: Path) -> None:
    lines = [f"dir {quoted(tmp_path)}", "dbfilename taken", "save 1 1"]
    server = stack.enter_context(Topology(lines=lines)).primary
    use_cache(url(server))
    (tmp_path / "taken").mkdir()  # in the place of the file
    (tmp_path / "taken" / "x").touch()
    with server.client() as client:
        client.set("a", 1)
        client.bgsave()
        while client.info("persistence")["rdb_bgsave_in_progress"]:
            pass
    trouble("MISCONF Redis is configured to save RDB snapshots")


def test_loading(stack: ExitStack, use_cache: Use) -> None:
    slow = ["key-load-delay 500", "loading-process-events-interval-bytes 1024"]
    server = stack.enter_context(Topology(lines=slow)).primary
    with server.client() as client:
        client.mset({f"k{number}": "" for number in range(20_000)})
        client.save()
    server.start(wait=False)
    use_cache(url(server))
    # Before, nothing listens, or the port is open and nothing answers yet.
    for _ in range(200):
        with pytest.raises(Problem) as error:
            redis.server(QUICK)
        if "is loading its data from disk" in str(error.value):
            return
    pytest.fail(str(error.value))


def test_not_a_redis(use_cache: Use) -> None:
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
        use_cache(f"redis://127.0.0.1:{port}/0")
        trouble("Protocol Error")
        use_cache(f"rediss://127.0.0.1:{port}/0")
        trouble("SSL: WRONG_VERSION_NUMBER, record layer failure")
        listener.shutdown(socket.SHUT_RDWR)


def test_messages_that_do_not_arrive(
    server: Server, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.kill()
    config = {"hosts": [url(server)], "prefix": "x"}
    layer = {"BACKEND": "outlast.channels.redis.PubSubLayer", "CONFIG": config}
    settings.CHANNEL_LAYERS = {"default": layer}
    monkeypatch.setattr(probes, "MESSAGE_SECONDS", 0.5)
    with pytest.raises(Problem, match=r"did not return within 0\.5 s through PubSubLayer"):
        probes.message_round_trip()
