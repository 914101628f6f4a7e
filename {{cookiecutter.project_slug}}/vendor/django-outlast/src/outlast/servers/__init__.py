"""Real Redis or Valkey servers on loopback ports, for tests and for `manage.py devredis`.

    with Topology(replicas=2, sentinels=3) as topology:
        os.environ.update(topology.environment())

Needs redis-py and a server program (see `find_server`), but not Django.
"""

import atexit
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

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
    `password`, `sentinel_password`: required by the servers, and by the Sentinels.
    `ports`: for Sentinels, then primaries, then replicas; the rest get free ones.
    """

    def __init__(
        self,
        replicas: int = 0,
        sentinels: int = 0,
        *,
        shards: int = 0,
        password: str = "",
        sentinel_password: str = "",
        ports: Sequence[int] = (),
    ):
        self.command, self.shards = find_server(), shards
        self.password, self.sentinel_password = password, sentinel_password
        self._folder = Path(tempfile.mkdtemp(prefix="redis-"))
        self._ports = iter(ports)
        self.servers: list[Server] = []
        self.sentinels: list[Server] = []
        self._pid = os.getpid()
        atexit.register(self.close)  # on Windows nothing else ends them with this process
        try:
            for _ in range(sentinels):
                self._add(self.sentinels, "sentinel", sentinel_password)
            for _ in range((shards or 1) * (1 + replicas)):
                self._add(self.servers, "server", password)
            self._primaries = self.servers[: shards or 1]
            self._start_servers()
            self._start_sentinels()
            self.wait_ready()
        except BaseException:
            self.close()
            raise

    def _add(self, to: list[Server], name: str, password: str) -> None:
        folder = self._folder / f"{name}-{len(to)}"
        to.append(self.make_server(folder, next(self._ports, 0), password=password or None))

    def make_server(self, folder: Path, port: int, **options: Any) -> Server:
        """Return a server; subclasses may return one of their own class."""
        return Server(self.command, folder, port, **options)

    def _start_servers(self) -> None:
        first, login = self.servers[0], quoted(self.password)
        for server in self.servers:
            lines = [f"requirepass {login}", f"masterauth {login}"] if self.password else []
            if self.shards:
                lines += ["cluster-enabled yes", "cluster-node-timeout 1000"]
                lines += [f"cluster-port {server.bus}"]
            elif server is not first:
                lines += [f"replicaof {HOST} {first.port}"]
            server.configure(files.SERVERS, lines)
            if self.shards:
                text = files.cluster_nodes(server, self.servers, self.shards)
                (server.folder / "nodes.conf").write_text(text, "ascii")
            server.start(wait=server is first)

    def _start_sentinels(self) -> None:
        """Start each Sentinel with the addresses of all others: discovery would take seconds."""
        primary, *replicas = self.servers
        quorum, login = len(self.sentinels) // 2 + 1, quoted(self.sentinel_password)
        shared = [f"requirepass {login}"] if self.sentinel_password else []
        shared += [f"sentinel monitor {SERVICE} {HOST} {primary.port} {quorum}"]
        shared += [f"sentinel known-replica {SERVICE} {HOST} {each.port}" for each in replicas]
        if self.password:
            shared += [f"sentinel auth-pass {SERVICE} {quoted(self.password)}"]
        for me in self.sentinels:
            lines = [*shared, f"sentinel myid {files.name_of(me)}"]
            lines += [
                f"sentinel known-sentinel {SERVICE} {HOST} {each.port} {files.name_of(each)}"
                for each in self.sentinels
                if each is not me
            ]
            me.configure(files.SENTINELS, lines, sentinel=True)
            me.start(wait=False)

    @property
    def primary(self) -> Server:
        """The server that takes writes; of a cluster, those for its first slots."""
        return self.primaries[0]

    @property
    def primaries(self) -> list[Server]:
        """The servers that take writes, in the order of their slots."""
        return self._primaries

    def _watchers(self) -> list[Server]:
        return [each for each in (self.servers if self.shards else self.sentinels) if each.running]

    def wait_ready(self, seconds: float = 30) -> None:
        """Wait until replicas follow their primaries and all servers know each other.

        Servers that do not run do not count. Raise ServerError after `seconds`.
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
        return all(self._sees_all(each) for each in self._watchers())

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

    def environment(self) -> dict[str, str]:
        """Return the variables with which a site finds these servers (see .env.example)."""
        if self.shards:
            nodes = ",".join(f"{HOST}:{server.port}" for server in self.servers)
            return {"REDIS_CLUSTER": nodes, "REDIS_PASSWORD": self.password}
        if self.sentinels:
            return {
                "REDIS_SENTINELS": ",".join(f"{HOST}:{s.port}" for s in self.sentinels),
                "REDIS_SENTINEL_SERVICE": SERVICE,
                "REDIS_SENTINEL_PASSWORD": self.sentinel_password,
                "REDIS_PASSWORD": self.password,
            }
        login = f":{quote(self.password, '')}@" if self.password else ""
        return {"REDIS_URL": f"redis://{login}{HOST}:{self.primary.port}/0"}

    def close(self) -> None:
        """End all servers and remove their files; do nothing in a forked process."""
        if os.getpid() != self._pid:
            return
        for server in self.sentinels + self.servers:  # the other order would begin a failover
            server.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        atexit.unregister(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
