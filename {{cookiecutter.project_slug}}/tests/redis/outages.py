"""What sockets live through when Redis fails, and a table of it.

python -m tests.redis.outages [how often]
"""

import asyncio
import contextlib
import itertools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from outlast.layer import PubSubLayer
from outlast.servers import SERVICE, Topology

SITE = Path(__file__).parents[2]
ALONE: dict[str, int] = {}
SENTINEL = {"replicas": 2, "sentinels": 3}


def host(topology: Topology) -> str | dict[str, Any]:
    """How the channel layer is told of the servers, as in config/profiles.py."""
    if not topology.sentinels:
        return topology.environment()["REDIS_URL"]
    sentinels = [("127.0.0.1", sentinel.port) for sentinel in topology.sentinels]
    return {"sentinels": sentinels, "master_name": SERVICE}


# Each fault returns the moment from which on Redis could be asked again, or a failover began.


def killed(topology: Topology) -> float:
    """Killed, and started again after two seconds with nothing in it."""
    topology.primary.kill()
    time.sleep(2)
    topology.primary.start(empty=True)
    return time.time()


def hung(topology: Topology) -> float:
    """Stopped for five seconds, as a machine that swaps or is moved."""
    topology.primary.pause()
    time.sleep(5)
    topology.primary.resume()
    return time.time()


def paused(topology: Topology) -> float:
    """Busy for three seconds: CLIENT PAUSE."""
    topology.primary.client().client_pause(3000)
    time.sleep(3)
    return time.time()


def flushed(topology: Topology) -> float:
    """FLUSHALL."""
    topology.primary.client().flushall()
    return time.time()


def cut(topology: Topology) -> float:
    """All connections closed by the server."""
    for kind in ("pubsub", "normal"):
        topology.primary.client().execute_command("CLIENT", "KILL", "TYPE", kind)
    return time.time()


def refused(topology: Topology) -> float:
    """Connections closed, and for a second no permission to publish or subscribe."""
    topology.primary.client().execute_command("ACL", "SETUSER", "default", "-@pubsub")
    cut(topology)
    time.sleep(1)
    topology.primary.client().execute_command("ACL", "SETUSER", "default", "+@pubsub")
    return time.time()


def primary_killed(topology: Topology) -> float:
    """Failover: the primary killed."""
    return failover(topology, lambda old: old.kill())


def primary_hung(topology: Topology) -> float:
    """Failover: the primary stopped."""
    return failover(topology, lambda old: old.pause())


def planned(topology: Topology) -> float:
    """Failover: SENTINEL FAILOVER, the former primary alive and well."""
    sentinel = topology.sentinels[-1].client()
    return failover(topology, lambda _: sentinel.execute_command("SENTINEL FAILOVER", SERVICE))


def failover(topology: Topology, strike: Callable[[Any], object]) -> float:
    old = topology.primary
    moment = time.time()
    strike(old)
    topology.wait_failover(old)
    return moment


Fault = Callable[[Topology], float]
FAULTS: dict[Fault, dict[str, int]] = {
    **dict.fromkeys((flushed, cut, refused, killed, paused, hung), ALONE),
    **dict.fromkeys((primary_killed, primary_hung, planned), SENTINEL),
}


@dataclass
class Ear:
    """A socket, as far as the layer is concerned: when it heard what was said when."""

    heard: list[tuple[float, float]] = field(default_factory=list)
    listening: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, layer: PubSubLayer, group: str) -> Self:
        ear = cls()
        channel = await layer.new_channel()
        await layer.group_add(group, channel)
        ear.listening = asyncio.create_task(ear._listen(layer, channel))
        return ear

    async def _listen(self, layer: PubSubLayer, channel: str) -> None:
        while True:
            message = await layer.receive(channel)
            self.heard.append((time.time(), message["at"]))

    async def hears_what_is_said_after(self, moment: float, patience: float = 10) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while not (self.heard and self.heard[-1][1] > moment):
                    await asyncio.sleep(0.02)
                return True
        return False

    def silence(self, since: float) -> tuple[float, float]:
        """The longest time without a word: how long it was, and when it was over."""
        moments = [moment for moment, _ in self.heard if moment > since - 0.5]
        return max((b - a, b) for a, b in itertools.pairwise(moments))


@contextlib.asynccontextmanager
async def speaker(topology: Topology, group: str) -> AsyncIterator[dict[str, Any]]:
    """Another process that talks to the group; yields what it says of itself in the end."""
    command = [sys.executable, "-m", "tests.redis.speaker"]
    command += [json.dumps([host(topology)]), "site", group]
    pipe = subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, cwd=SITE)
    said: dict[str, Any] = {}
    try:
        yield said
    finally:
        output, _ = await process.communicate(b"")  # closes its input
    said |= json.loads(output)


@dataclass
class Report:
    """What a fault did; times in seconds."""

    sockets: int
    open: int
    deaf: int
    silent: float  # the longest silence of any socket
    again: float  # from the end of the fault, or the start of a failover, to the whole stream
    opening: float  # how long it took to open one more socket in the middle of it
    said: dict[str, Any]


async def outlive(topology: Topology, fault: Fault, sockets: int = 20) -> Report:
    """Open sockets, let another process talk to them, break Redis, and see what happens."""
    layer = PubSubLayer([host(topology)], "site")
    ears = [await Ear.open(layer, "group") for _ in range(sockets)]
    async with speaker(topology, "group") as said:
        hearing = [await ear.hears_what_is_said_after(0) for ear in ears]
        assert all(hearing), "deaf before anything was broken"
        started = time.time()
        breaking = asyncio.create_task(asyncio.to_thread(fault, topology))
        await asyncio.sleep(0.5)
        before = time.perf_counter()
        late = await Ear.open(layer, "group")
        opening = time.perf_counter() - before
        over = await breaking
        now = time.time()
        hearing = [await ear.hears_what_is_said_after(now) for ear in [*ears, late]]
        await asyncio.sleep(0.3)
    silent, end = max(ear.silence(started) for ear in ears)
    listening = [ear.listening for ear in [*ears, late] if ear.listening]
    still_open = sum(not task.done() for task in listening)
    for task in listening:
        task.cancel()
    await asyncio.gather(*listening, return_exceptions=True)
    return Report(
        sockets=len(listening),
        open=still_open,
        deaf=hearing.count(False),
        silent=silent,
        again=max(end - over, 0) if silent > 0.3 else 0,
        opening=opening,
        said=said,
    )


def main(repeats: int) -> None:
    print("fault            again (s)  silent (s)  open  deaf  raised  slowest send  opening (s)")
    for fault, kind in FAULTS.items():
        reports = []
        for _ in range(repeats):
            with Topology(**kind) as topology:
                reports.append(asyncio.run(outlive(topology, fault)))
        print(
            f"{fault.__name__:16}"
            f"{statistics.median(r.again for r in reports):10.2f}"
            f"{statistics.median(r.silent for r in reports):12.2f}"
            f"{sum(r.open for r in reports):4}/{sum(r.sockets for r in reports)}"
            f"{sum(r.deaf for r in reports):4}"
            f"{sum(len(r.said['errors']) for r in reports):8}"
            f"{max(r.said['slowest'] for r in reports):14.3f}"
            f"{max(r.opening for r in reports):13.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
