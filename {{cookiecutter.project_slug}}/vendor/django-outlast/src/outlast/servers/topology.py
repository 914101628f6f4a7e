"""A primary with its replicas and Sentinels."""

import atexit
import contextlib
import secrets
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlencode

from redis import RedisError

from .process import HOST, PortTakenError, Server, find_server, quoted, wait_until

SERVICE = "mymaster"
# What production starts its servers with.
DEPLOY = next(
    p / "deploy" for p in Path(__file__).parents if (p / "deploy" / "redis.conf").is_file()
)


class Topology:
    """A primary, replicas and Sentinels: started, linked, and known to each other.

    They end with the `with` block, with `close`, or with this process, however it ends.

    `kind`: "redis", "valkey", or None for whichever there is.
    `config`, `sentinel_config`: files to begin the configuration with: those of production.
    `lines`: more configuration for the primary and the replicas, such as "maxmemory 10mb".
    `username`, `password`: what all log in with; an ACL for the username is up to the lines.
    `sentinel_password`: the same for the Sentinels.
    `tls`: a folder with cert.pem, key.pem and ca.pem; a lone server then speaks TLS only.
    `ports`: for the Sentinels, then the primary, then the replicas; free ones where it ends.
    """

    def __init__(
        self,
        replicas: int = 0,
        sentinels: int = 0,
        kind: str | None = None,
        *,
        config: Path = DEPLOY / "redis.conf",
        sentinel_config: Path = DEPLOY / "sentinel.conf",
        lines: Sequence[str] = (),
        username: str = "",
        password: str = "",
        sentinel_password: str = "",
        tls: Path | None = None,
        ports: Sequence[int] = (),
    ):
        self.command = find_server(kind)
        self.username, self.password, self.tls = username, password, tls
        self.sentinel_password = sentinel_password
        self._base = config.read_text("utf-8")
        self._sentinel_base = sentinel_config.read_text("utf-8")
        self._lines = lines
        for attempt in range(5):
            self.servers: list[Server] = []
            self.sentinels: list[Server] = []
            self._folder = Path(tempfile.mkdtemp(prefix="redis-"))
            atexit.register(self.close)
            try:
                self._reserve(replicas, sentinels, ports)
                self._start()
                return
            except PortTakenError:  # between our choice and the server's bind
                self.close()
                if ports or attempt == 4:
                    raise
            except BaseException:
                self.close()
                raise

    def _reserve(self, replicas: int, sentinels: int, ports: Sequence[int]) -> None:
        wanted = iter(ports)
        login: dict[str, Any] = {"password": self.sentinel_password or None}
        for number in range(sentinels):
            folder = self._folder / f"sentinel-{number}"
            self.sentinels.append(Server(self.command, folder, next(wanted, 0), **login))
        login = {"username": self.username or None, "password": self.password or None}
        if self.tls:
            login |= {"ssl": True, "ssl_ca_certs": str(self.tls / "ca.pem")}
        for number in range(1 + replicas):
            folder = self._folder / f"server-{number}"
            self.servers.append(Server(self.command, folder, next(wanted, 0), **login))
        self._primary = self.servers[0]

    def _start(self) -> None:
        primary, *replicas = self.servers
        primary.configure(self._base, self._redis_lines(primary.port))
        primary.start()
        for replica in replicas:
            lines = [*self._redis_lines(replica.port), f"replicaof {HOST} {primary.port}"]
            replica.configure(self._base, lines)
            replica.start(wait=False)
        # Sentinels that are told of each other, as by their own rewritten file, need no search.
        ids = {sentinel.port: secrets.token_hex(20) for sentinel in self.sentinels}
        for sentinel in self.sentinels:
            lines = [*self._sentinel_lines(), f"sentinel myid {ids[sentinel.port]}"]
            lines += [f"sentinel known-replica {SERVICE} {HOST} {r.port}" for r in replicas]
            for port in ids.keys() - {sentinel.port}:
                lines += [f"sentinel known-sentinel {SERVICE} {HOST} {port} {ids[port]}"]
            sentinel.configure(self._sentinel_base, lines, sentinel=True)
            sentinel.start(wait=False)
        self.wait_ready()

    def _redis_lines(self, port: int) -> list[str]:
        lines: list[str] = []
        if self.username:
            lines += [f"masteruser {self.username}", f"masterauth {quoted(self.password)}"]
        elif self.password:
            lines += [f"requirepass {quoted(self.password)}"]
            lines += [f"masterauth {quoted(self.password)}"]
        if self.tls:
            lines += ["port 0", f"tls-port {port}", "tls-auth-clients no"]
            for option, name in (("cert", "cert"), ("key", "key"), ("ca-cert", "ca")):
                lines += [f"tls-{option}-file {quoted(self.tls / f'{name}.pem')}"]
        return [*lines, *self._lines]

    def _sentinel_lines(self) -> list[str]:
        quorum = len(self.sentinels) // 2 + 1
        lines = [f"sentinel monitor {SERVICE} {HOST} {self.servers[0].port} {quorum}"]
        if self.password:
            lines += [f"sentinel auth-pass {SERVICE} {quoted(self.password)}"]
        if self.username:
            lines += [f"sentinel auth-user {SERVICE} {self.username}"]
        if self.sentinel_password:
            lines += [f"requirepass {quoted(self.sentinel_password)}"]
        return lines

    @property
    def primary(self) -> Server:
        """Whom the first answering Sentinel names; if none does, the one it was before."""
        named = (self._named_by(sentinel) for sentinel in self.sentinels if sentinel.running)
        self._primary = next(filter(None, named), self._primary)
        return self._primary

    def _named_by(self, sentinel: Server) -> Server | None:
        with contextlib.suppress(RedisError), sentinel.client() as client:
            _, port = client.sentinel_get_master_addr_by_name(SERVICE)
            return next(server for server in self.servers if server.port == int(port))
        return None

    def wait_ready(self, seconds: float = 30) -> None:
        """Return when all that runs is well: replicas linked, every Sentinel seeing everyone.

        Servers that were killed or paused do not count. Raises ServerError after `seconds`.
        """
        wait_until(self._ready, "primary, replicas and Sentinels to find each other", seconds)

    def _ready(self) -> bool:
        for server in self.servers + self.sentinels:
            server.check()
        primary = self.primary
        return self._linked(primary) and all(
            self._sees_all(sentinel, primary) for sentinel in self.sentinels if sentinel.running
        )

    def _linked(self, primary: Server) -> bool:
        """Whether every running replica follows `primary`, as both ends see it."""
        replicas = [s for s in self.servers if s.running and s is not primary]
        seen = replication(primary)
        online = [v for k, v in seen.items() if k.startswith("slave") and "online" in str(v)]
        links = [replication(replica) for replica in replicas]
        return (
            seen.get("role") == "master"
            and len(online) >= len(replicas)
            and all(link.get("master_link_status") == "up" for link in links)
            and all(link["master_port"] == primary.port for link in links)
        )

    def _sees_all(self, sentinel: Server, primary: Server) -> bool:
        """Whether `sentinel` names `primary` and is connected to all others that run."""
        try:
            with sentinel.client() as client:
                master = client.sentinel_master(SERVICE)
                replicas = client.sentinel_slaves(SERVICE)
                peers = client.sentinel_sentinels(SERVICE)
        except RedisError:
            return False
        well = {
            node["port"]
            for node in (master, *replicas, *peers)
            if not (node["is_sdown"] or node["is_disconnected"]) and node.get("info-refresh", 1)
        }
        running = {s.port for s in self.servers + self.sentinels if s.running}
        return master["port"] == primary.port and running - {sentinel.port} <= well

    def wait_failover(self, old: Server, seconds: float = 30) -> Server:
        """The new primary, once every running Sentinel names it and it takes writes.

        The replicas may not have followed yet: `wait_ready` waits for them.
        """

        def over() -> bool:
            named = {self._named_by(s) for s in self.sentinels if s.running}
            return (
                len(named) == 1
                and not named & {old, None}
                and (replication(self.primary).get("role") == "master")
            )

        wait_until(over, f"a failover from the server on port {old.port}", seconds)
        return self.primary

    def environment(self) -> dict[str, str]:
        """The site's variables for these servers, the empty ones too (see .env.example)."""
        if self.sentinels:
            return {
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
        for server in self.sentinels + self.servers:  # the other way round a failover begins
            server.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        atexit.unregister(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def replication(server: Server) -> dict[str, Any]:
    """What `server` says of its replication; nothing if it does not answer."""
    with contextlib.suppress(RedisError), server.client() as client:
        return dict(client.info("replication"))
    return {}
