"""A site with its servers, and functions to break and observe them."""

import hashlib
import os
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from redis import Redis, RedisError

from proof.conftest import module
from proof.outage.result import Ended, Result
from proof.site import Site

PASSWORD = "an-open-secret"  # noqa: S105  # no blanks: Sentinel of Redis 7.0 rewrites it unquoted
LOOK_SECONDS, ENOUGH = 0.25, 4  # between two probes of a fault; how often it must be seen
HUNG = "[Tt]imeout"
STOCK = bool(os.environ.get("STOCK"))  # the name of an engine of Django's, see overlay/


def find_kinds() -> list[str]:
    """Return the kinds of servers that are on this machine."""
    servers, found = module("tests.servers"), []
    for kind in ("valkey", "redis"):
        with suppress(servers.ServerError):
            servers.find_server(kind)
            found.append(kind)
    return found


KINDS = find_kinds()


class Outage:
    """What a fault works on: a site, once it runs, and `topology`, the servers it uses."""

    site: Site

    def __init__(self, topology: Any, profile: str, kind: str) -> None:
        self.topology, self.place = topology, f"{profile}, {kind}"
        self.database = 3 if profile == "redis" else 0  # a number that can be wrong
        self.result = Result()

    @property
    def primary(self) -> Any:
        """The server that takes writes, or one of them."""
        return self.topology.primary

    @property
    def everyone(self) -> list[Any]:
        """All servers; Sentinels first."""
        return [*self.topology.sentinels, *self.topology.servers]

    def observed(self, text: str) -> None:
        """Record what shows that the fault was active."""
        self.result.seen.append(text)

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
        """Return a server's answer to a write, or PING of a Sentinel or a cluster's node."""
        pings = self.topology.shards or server in self.topology.sentinels
        database = 0 if pings else self.database
        try:
            with server.client(socket_timeout=time_limit, db=database) as client:
                return str(client.ping() if pings else client.set("outage", "1", ex=5))
        except (RedisError, OSError) as error:
            return f"{type(error).__name__}: {error}"

    def confirm_failover(self, old: Any) -> None:
        """Return when another server than `old` takes its writes."""
        began = time.monotonic()
        self.topology.wait_failover(old)
        self.observed(f"another primary, waited for {time.monotonic() - began:.1f} s")

    def keys(self, match: str) -> list[str]:
        """Return the keys of all primaries that match a pattern."""
        found: list[str] = []
        for primary in self.topology.primaries:
            with primary.client(db=self.database) as client:
                found += client.scan_iter(match=match, count=10_000)
        return found

    def confirm_copies(self, sessions: Iterable[Ended]) -> None:
        """Record how many of these sessions have a copy in Redis; AssertionError if none."""
        names = "\n".join(self.keys("*"))
        back = 0
        for session in sessions:
            # Django's own engines name copies by the key itself, ours by its hash.
            hashed = hashlib.sha256(session.key.encode()).hexdigest()
            back += session.key in names or hashed in names
        assert back, "Redis has no copy of a session that was ended since."
        self.observed(f"copies of {back} ended sessions are back")

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

    def restore(self) -> None:
        """Bring the servers back to where they were before the fault."""
        if len(self.everyone) == 1:
            self.primary.start(empty=True)
            return
        for server in self.everyone:
            if not server.running or (server in self.topology.sentinels and tilted(server)):
                server.start()
        primary = self.primary
        for server in self.topology.servers if self.topology.sentinels else []:
            if server is not primary:
                with server.client() as client:
                    client.replicaof("127.0.0.1", primary.port)
        self.topology.wait_ready()


def tilted(sentinel: Any) -> bool:
    """Whether a Sentinel noticed that it was hung: it then does nothing for 30 seconds."""
    with suppress(RedisError), sentinel.client() as client:
        return bool(client.info("sentinel").get("sentinel_tilt"))
    return True


@contextmanager
def web_server(port: int) -> Iterator[None]:
    """Answer every connection to `port` as a web server does."""
    server = ThreadingHTTPServer(("127.0.0.1", port), BaseHTTPRequestHandler)
    with server, ThreadPoolExecutor(1) as pool:
        pool.submit(server.serve_forever, 0.05)
        try:
            yield
        finally:
            server.shutdown()
