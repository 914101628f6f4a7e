"""A site with its servers, and what a fault does to them and sees of them."""

import hashlib
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from redis import Redis, RedisError

from proof.conftest import module
from proof.outage.recorder import Ended, Recorder
from proof.site import Site

PASSWORD = "an-open-secret"  # noqa: S105  # no blanks: Sentinel of Redis 7.0 rewrites it unquoted
DATABASES = {"redis": 3, "redis-sentinel": 0, "redis-cluster": 0}  # a number that can be wrong
LOOK_SECONDS, ENOUGH = 0.25, 4  # between two probes of a fault; how often it must be seen
HUNG = "[Tt]imeout"


def find_kinds() -> list[str]:
    """Return the kinds of servers that are on this machine."""
    servers, found = module("outlast.servers"), []
    for kind in ("valkey", "redis"):
        with suppress(servers.ServerError):
            servers.find_server(kind)
            found.append(kind)
    return found


KINDS = find_kinds()


class Outage:
    """What a fault works on: a site and `topology`, the servers it uses.

    `names`: the profile, the kind of the servers, and the sessions: "ours" or Django's engine.
    """

    def __init__(self, site: Site, topology: Any, names: dict[str, str]) -> None:
        self.site, self.topology, self.names = site, topology, names
        self.database = DATABASES[names["profile"]]
        self.recorder = Recorder()
        self.observations: list[str] = []

    @property
    def primary(self) -> Any:
        """The server that takes writes."""
        return self.topology.primary

    def observed(self, text: str) -> None:
        """Record what shows that the fault was active."""
        self.observations.append(text)

    def confirm(self, seconds: float, error: str, *servers: Any, settle: float = 0) -> None:
        """Probe each server until `seconds` are over: each answer must be `error`.

        Raises AssertionError for another answer, but not in the first `settle` seconds.
        """
        time_limit = 0.3 if error == HUNG else 2.0
        began, seen = time.monotonic(), Counter[str]()
        while (passed := time.monotonic() - began) < seconds:
            for server in servers:
                answer = self.ask(server, time_limit)
                if found := re.search(error, answer):
                    seen[found[0]] += 1
                else:
                    assert passed < settle, f"The server on port {server.port} answered: {answer}"
            time.sleep(LOOK_SECONDS)
        assert seen.total() >= ENOUGH, f"The fault was seen {seen.total()} times only."
        self.observed(", ".join(f"{text} {times}x" for text, times in seen.items()))

    def ask(self, server: Any, time_limit: float) -> str:
        """Return a server's answer to a write, or PING of a Sentinel or node, within some time."""
        asks = self.topology.shards or server in self.topology.sentinels
        try:
            with server.client(
                socket_timeout=time_limit, db=0 if asks else self.database
            ) as client:
                return str(client.ping() if asks else client.set("outage", "1", ex=5))
        except (RedisError, OSError) as error:
            return f"{type(error).__name__}: {error}"

    def failed_over(self, old: Any) -> bool:
        """Whether there is a failover; another server than `old` has to be primary then."""
        if fails_over := bool(self.topology.sentinels or self.topology.shards):
            self.confirm_failover(old)
        return fails_over

    def confirm_failover(self, old: Any) -> None:
        """Return when all name another primary than `old`, and that takes writes."""
        began = time.monotonic()
        self.topology.wait_failover(old)
        self.observed(f"another primary, waited for {time.monotonic() - began:.1f} s")

    def copies_of(self, sessions: Iterable[Ended]) -> int:
        """Return how many of these sessions the primaries hold a copy of."""
        names = "\n".join(self.key_names())
        hashed = (hashlib.sha256(session.key.encode()).hexdigest() for session in sessions)
        return sum(name in names for name in hashed)

    def key_names(self, pattern: str = "*") -> Iterator[str]:
        """Yield the names of all keys in the primaries."""
        for primary in self.topology.primaries:
            with primary.client(db=self.database) as client:
                yield from client.scan_iter(match=pattern, count=10_000)

    def disconnect_clients(self, client: Redis) -> None:
        """Cut all connections to the primary but this one."""
        for kind in ("normal", "pubsub"):
            client.client_kill_filter(_type=kind, skipme=True)

    @contextmanager
    def configured(self, *lines: str) -> Iterator[None]:
        """Let the primary start with these lines in its configuration."""
        conf = self.primary.conf
        text = conf.read_text("utf-8")
        conf.write_text("\n".join([text, *lines, ""]), "utf-8")
        try:
            yield
        finally:
            conf.write_text(text, "utf-8")

    @contextmanager
    def unused_port(self) -> Iterator[int]:
        """Give a port without a listener."""
        with socket.socket() as reserved:
            reserved.bind(("127.0.0.1", 0))
            yield reserved.getsockname()[1]

    def restore(self) -> None:
        """Bring the servers back to where they were before the fault."""
        if not (self.topology.sentinels or self.topology.shards):
            self.primary.start(empty=True)
            return
        for server in self.topology.servers + self.topology.sentinels:
            if not server.running or self._tilted(server):
                server.start()
        if self.topology.shards:
            self.topology.wait_ready()
            return
        primary = self.primary
        for server in self.topology.servers:
            if server is not primary:
                with server.client() as client:
                    client.replicaof("127.0.0.1", primary.port)
        self.topology.wait_ready()

    def _tilted(self, server: Any) -> bool:
        """Whether a Sentinel noticed that it was hung: it then does nothing for 30 seconds."""
        with suppress(RedisError), server.client() as client:
            return bool(client.info("sentinel").get("sentinel_tilt"))  # of others: nothing
        return True


@contextmanager
def web_server(port: int) -> Iterator[None]:
    """Answer whatever is events on `port` as a web server does."""
    answer = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
    with socket.create_server(("127.0.0.1", port)) as listener:
        listener.settimeout(0.1)
        done = threading.Event()

        def serve() -> None:
            while not done.is_set():
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    continue
                with connection:
                    connection.settimeout(0.5)
                    try:
                        connection.recv(1024)
                        connection.sendall(answer)
                    except OSError:
                        continue

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join(10)
            assert not thread.is_alive(), f"The web server on port {port} did not end."
