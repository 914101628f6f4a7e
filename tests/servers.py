"""The library's servers, with what only tests need: faults, failovers, other configurations.

with Topology(replicas=2, sentinels=3) as topology:
    old = topology.primary
    old.kill()
    new = topology.wait_failover(old)
"""

import contextlib
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from outlast import servers
from outlast.servers import (
    HOST,
    SERVICE,
    PortTakenError,
    ServerError,
    find_server,
    quoted,
    reserve_port,
    wait_until,
)
from redis import RedisError

__all__ = [
    "HOST", "SERVICE", "PortTakenError", "Server", "ServerError", "Topology", "find_server",
    "quoted", "reserve_port", "wait_until",
]  # fmt: skip


class Server(servers.Server):  # type: ignore[misc]
    """A server that can be paused, lose its data, and have any configuration."""

    topology: "Topology"
    paused = False

    def configure(self, base: str, lines: Sequence[str], *, sentinel: bool = False) -> None:
        """As the library, with the configuration of `topology`."""
        other = self.topology.sentinel_config if sentinel else self.topology.config
        more = [*self.topology.lines_of(self), *([] if sentinel else self.topology.lines)]
        text = other.read_text("utf-8") if other else base
        super().configure(text, [*lines, *more], sentinel=sentinel)

    @property
    def running(self) -> bool:
        """Whether it was started, and neither killed nor paused since."""
        return bool(super().running) and not self.paused

    def start(self, *, wait: bool = True, empty: bool = False) -> None:
        """Start it, without the data that it saved if `empty`; with `wait`, until it answers."""
        self.kill()
        if empty:
            shutil.rmtree(self.folder / "appendonlydir", ignore_errors=True)
            (self.folder / "dump.rdb").unlink(missing_ok=True)
        super().start(wait=wait)

    def kill(self) -> None:
        """Kill the process, as a crash does."""
        super().kill()
        self.paused = False

    def pause(self) -> None:
        """Stop the process: connections are accepted and never answered. Not on Windows."""
        self._signal("SIGSTOP")
        self.paused = True

    def resume(self) -> None:
        """Continue after `pause`."""
        self._signal("SIGCONT")
        self.paused = False

    def _signal(self, name: str) -> None:
        if not self._processes:
            raise ServerError(f"The server on port {self.port} is not running: start() it first.")
        self._processes[0].send_signal(getattr(signal, name))


class Topology(servers.Topology):  # type: ignore[misc]
    """Servers of a kind, with a configuration, that know their primaries after a failover.

    `kind`: "redis" or "valkey"; by default, the first that is found.
    `config`, `sentinel_config`: files in place of the library's SERVERS and SENTINELS.
    `lines`: more configuration for the primaries and replicas, such as "maxmemory 10mb".
    """

    _primaries: list[Server]

    def __init__(
        self,
        replicas: int = 0,
        sentinels: int = 0,
        kind: str | None = None,
        *,
        config: Path | None = None,
        sentinel_config: Path | None = None,
        lines: Sequence[str] = (),
        **options: Any,
    ) -> None:
        self.kind, self.lines = kind, lines
        self.config, self.sentinel_config = config, sentinel_config
        super().__init__(replicas, sentinels, **options)

    def make_server(self, folder: Path, port: int, **options: Any) -> Server:
        """Return a server of the kind."""
        self.command = find_server(self.kind)
        server = Server(self.command, folder, port, **self.client_options(), **options)
        server.topology = self
        return server

    def lines_of(self, server: Server) -> list[str]:
        """Return more configuration of a server or a Sentinel; for subclasses."""
        return []

    def client_options(self) -> dict[str, Any]:
        """Return more arguments of the clients; for subclasses."""
        return {}

    @property
    def primaries(self) -> list[Server]:
        """What the first Sentinel, or node, that answers names; if none does, the last known."""
        named = (self._named_by(each) for each in self._watchers())
        self._primaries = next(filter(None, named), self._primaries)
        return self._primaries

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

    def wait_failover(self, old: Server, seconds: float = 30) -> Server:
        """Return the new primary once all that run name it and it takes writes.

        The replicas may not follow it yet: `wait_ready` waits for them.
        """
        place = self._primaries.index(old)

        def is_over() -> bool:
            named = [self._named_by(each) for each in self._watchers()]
            if not named or not named[0] or named.count(named[0]) < len(named):
                return False
            self._primaries = named[0]
            return old not in named[0] and named[0][place].replication()["role"] == "master"

        wait_until(is_over, f"a failover from the server on port {old.port}", seconds)
        return self._primaries[place]
