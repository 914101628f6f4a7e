"""Real Redis or Valkey servers on loopback ports, for tests and for `manage.py devredis`.

    with Topology(replicas=2, sentinels=3) as topology:
        old = topology.primary
        old.kill()
        new = topology.wait_failover(old)

Needs redis-py and a server program (see `find_server`), but not Django.
"""

import atexit
import contextlib
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlencode

from redis import RedisError

from . import config as files
from .config import SERVICE
from .process import (
    HOST,
    PortTakenError,
    Server,
    ServerError,
    find_server,
    quoted,
    reserve_port,
    wait_until,
)

__all__ = [
    "HOST", "SERVICE", "PortTakenError", "Server", "ServerError", "Topology", "find_server",
    "quoted", "reserve_port", "wait_until",
]  # fmt: skip


class Topology:
    """Primaries with their replicas and Sentinels, started and linked.

    They end with the `with` block, with `close`, or with this process, however it ends.

    `replicas`: of each primary. `sentinels`: how many watch it.
    `shards`: the primaries of a Redis Cluster; 0 for a single primary without cluster mode.
    `kind`: "redis" or "valkey"; by default, the first that is found.
    `config`, `sentinel_config`: files in place of SERVERS and SENTINELS in `config.py`.
    `lines`: more configuration for the primaries and replicas, such as "maxmemory 10mb".
    `password`, `sentinel_password`: required by the servers, and by the Sentinels.
    `username`: who logs in with `password`; `lines` must hold the ACL of this user.
    `tls`: a folder with cert.pem, key.pem and ca.pem; servers and Sentinels then speak TLS only.
    `ports`: for Sentinels, then primaries, then replicas; the rest get free ones.
    """

    def __init__(
        self,
        replicas: int = 0,
        sentinels: int = 0,
        kind: str | None = None,
        *,
        shards: int = 0,
        config: Path | None = None,
        sentinel_config: Path | None = None,
        lines: Sequence[str] = (),
        username: str = "",
        password: str = "",
        sentinel_password: str = "",
        tls: Path | None = None,
        ports: Sequence[int] = (),
    ):
        self.command, self.tls, self.shards = find_server(kind), tls, shards
        self.username, self.password = username, password
        self.sentinel_password = sentinel_password
        self._folder = Path(tempfile.mkdtemp(prefix="redis-"))
        self.servers: list[Server] = []
        self.sentinels: list[Server] = []
        atexit.register(self.close)
        wanted = iter(ports)
        speaks = {"ssl": True, "ssl_ca_certs": str(tls / "ca.pem")} if tls else {}

        def add(to: list[Server], name: str, **login: Any) -> None:
            folder = self._folder / f"{name}-{len(to)}"
            account = {key: value or None for key, value in login.items()}
            to.append(Server(self.command, folder, next(wanted, 0), **account, **speaks))

        try:
            for _ in range(sentinels):
                add(self.sentinels, "sentinel", password=sentinel_password)
            for _ in range((shards or 1) * (1 + replicas)):
                add(self.servers, "server", username=username, password=password)
            self._primaries = self.servers[: shards or 1]
            self._start_servers(config.read_text("utf-8") if config else files.SERVERS, lines)
            self._start_sentinels(
                sentinel_config.read_text("utf-8") if sentinel_config else files.SENTINELS
            )
            self.wait_ready()
        except BaseException:
            self.close()
            raise

    def _start_servers(self, base: str, more: Sequence[str]) -> None:
        nodes = files.cluster_nodes(self.servers, self.shards) if self.shards else {}
        for server in self.servers:
            lines = files.login_lines(self.username, self.password)
            lines += [*files.tls_lines(server.port, self.tls), *more]
            if self.shards:
                lines += ["cluster-enabled yes", "cluster-node-timeout 1000"]
                lines += [f"cluster-port {server.bus}"]
            elif server is not self.servers[0]:
                lines += [f"replicaof {HOST} {self.servers[0].port}"]
            server.configure(base, lines)
            if self.shards:
                (server.folder / "nodes.conf").write_text(nodes[server], "ascii")
            server.start(wait=server is self.servers[0])

    def _start_sentinels(self, base: str) -> None:
        found = files.sentinel_lines(self.servers, self.sentinels, self.username, self.password)
        for sentinel, lines in found.items():
            if self.sentinel_password:
                lines.insert(0, f"requirepass {quoted(self.sentinel_password)}")
            lines[:0] = files.tls_lines(sentinel.port, self.tls)
            sentinel.configure(base, lines, sentinel=True)
            sentinel.start(wait=False)

    @property
    def primary(self) -> Server:
        """The server that takes writes; of a cluster, those for its first slots."""
        return self.primaries[0]

    @property
    def primaries(self) -> list[Server]:
        """What the first Sentinel, or node, that answers names; if none does, the last known."""
        named = (self._named_by(each) for each in self._watchers() if each.running)
        self._primaries = next(filter(None, named), self._primaries)
        return self._primaries

    def _watchers(self) -> list[Server]:
        return self.servers if self.shards else self.sentinels

    def _named_by(self, watcher: Server) -> list[Server]:
        """Return the primaries in the order of their slots; nothing if it does not answer."""
        with contextlib.suppress(RedisError), watcher.client() as client:
            if self.shards:
                ranges = client.execute_command("CLUSTER SLOTS")  # first, last, primary, replicas
                places = [primary[:2] for _, _, primary, *_ in sorted(ranges)]
            else:
                places = [client.sentinel_get_master_addr_by_name(SERVICE)]
            ports = dict.fromkeys(int(port) for _, port in places)
            return [next(each for each in self.servers if each.port == port) for port in ports]
        return []

    def wait_ready(self, seconds: float = 30) -> None:
        """Wait until replicas follow their primaries and all servers know each other.

        Servers that were killed or paused do not count. Raise ServerError after `seconds`.
        """
        wait_until(self._ready, "primaries, replicas and Sentinels to find each other", seconds)

    def _ready(self) -> bool:
        for server in self.servers + self.sentinels:
            server.check()
        primaries = self.primaries
        ports = [primary.port for primary in primaries]
        for server in primaries + [s for s in self.servers if s.running and s not in primaries]:
            info = server.replication()
            if server in primaries:
                online = [info[f"slave{n}"]["state"] for n in range(info["connected_slaves"])]
                if info["role"] != "master" or set(online) - {"online"}:
                    return False
            elif info.get("master_link_status") != "up" or info["master_port"] not in ports:
                return False
        return all(self._sees_all(each) for each in self._watchers() if each.running)

    def _sees_all(self, watcher: Server) -> bool:
        """Return whether a Sentinel, or node, is connected to all others that run."""
        running = {s.port for s in self.servers + self.sentinels if s.running}
        with watcher.client() as client:
            if self.shards:
                return bool(client.cluster("info")["cluster_state"] == "ok")
            primary = client.sentinel_master(SERVICE)
            nodes = client.sentinel_slaves(SERVICE) + client.sentinel_sentinels(SERVICE)
        seen = {
            node["port"]
            for node in (primary, *nodes)
            if not (node["is_sdown"] or node["is_disconnected"]) and node.get("info-refresh", 1)
        }
        return primary["port"] == self._primaries[0].port and running - {watcher.port} <= seen

    def wait_failover(self, old: Server, seconds: float = 30) -> Server:
        """Return the new primary once all that run name it and it takes writes.

        The replicas may not follow it yet: `wait_ready` waits for them.
        """
        place = self._primaries.index(old)

        def is_over() -> bool:
            named = [self._named_by(each) for each in self._watchers() if each.running]
            if not named or not named[0] or named.count(named[0]) < len(named):
                return False
            self._primaries = named[0]
            return old not in named[0] and named[0][place].replication()["role"] == "master"

        wait_until(is_over, f"a failover from the server on port {old.port}", seconds)
        return self._primaries[place]

    def environment(self) -> dict[str, str]:
        """Return the variables with which a site finds these servers (see .env.example)."""
        login = {"REDIS_USERNAME": self.username, "REDIS_PASSWORD": self.password}
        if self.tls:
            login |= {"REDIS_TLS": "1", "REDIS_CA_FILE": str(self.tls / "ca.pem")}
        if self.shards:
            nodes = ",".join(f"{HOST}:{server.port}" for server in self.servers)
            return {"REDIS_CLUSTER": nodes, **login}
        if self.sentinels:
            return {
                "REDIS_SENTINELS": ",".join(f"{HOST}:{s.port}" for s in self.sentinels),
                "REDIS_SENTINEL_SERVICE": SERVICE,
                "REDIS_SENTINEL_PASSWORD": self.sentinel_password,
                **login,
            }
        user = f"{quote(self.username, '')}:{quote(self.password, '')}@" if self.password else ""
        place = f"{user}{HOST}:{self.primary.port}/0"
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
