"""Faults of Redis, by signals and commands to real servers: the rows of the table.

A fault is a function that breaks something, confirms with clients of its own that it is broken,
and repairs it. `Outage.restore` brings the servers back to where they were before.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

from proof.outage.outage import HUNG, LOOK_SECONDS, PASSWORD, STOCK, Outage, web_server
from proof.site import free_port

SECONDS = 4.5  # of most faults; LEAVING of users.py fits in
ALL = ("redis", "redis-sentinel", "redis-cluster")


class Fault(NamedTuple):
    """A row of the table: `name` for pytest, `title` for readers."""

    name: str
    title: str
    cause: Callable[[Outage], None]

    def __str__(self) -> str:
        return self.name


FAULTS: dict[str, list[Fault]] = {profile: [] for profile in ALL}


def fault(title: str, *profiles: str) -> Callable[[Callable[[Outage], None]], Callable[..., None]]:
    """Add a function to the rows of `profiles`, the column "redis" by default."""

    def register(cause: Callable[[Outage], None]) -> Callable[[Outage], None]:
        for profile in profiles or ("redis",):
            FAULTS[profile].append(Fault(cause.__name__.replace("_", "-"), title, cause))
        return cause

    return register


@fault("refused: all killed, stay down", *ALL)
def refused(outage: Outage) -> None:
    for server in outage.everyone:
        server.kill()
    outage.confirm(SECONDS, "refused", *outage.everyone)
    for server in reversed(outage.everyone):
        server.start()


@fault("killed, back after 3 s")
def killed_back_after_3s(outage: Outage) -> None:
    outage.primary.kill()
    outage.confirm(3, "refused", outage.primary)
    outage.primary.start()


@fault("hung for 5 s", *ALL)
def hung_5s(outage: Outage) -> None:
    old = outage.primary
    old.pause()
    outage.confirm(5, HUNG, old)
    if len(outage.everyone) > 1:
        outage.confirm_failover(old)
    old.resume()


@fault("hung permanently", *ALL)
def hung_permanently(outage: Outage) -> None:
    old = outage.primary
    old.pause()
    outage.confirm(SECONDS, HUNG, old)
    if len(outage.everyone) > 1:
        outage.confirm_failover(old)
    else:
        old.start(empty=True)  # as a service manager does, or an operator


@fault("restarted empty")
def restarted_empty(outage: Outage) -> None:
    keys = len(outage.keys("*"))
    outage.primary.start(empty=True)
    left = len(outage.keys("*"))
    assert left < keys, f"{left} keys of {keys} are still there"
    outage.observed(f"{keys - left} keys gone")
    time.sleep(SECONDS)


@fault("restarted from an old snapshot")
def restarted_from_a_snapshot(outage: Outage) -> None:
    with outage.primary.client() as client:
        client.save()
    ended = len(outage.result.ended)
    time.sleep(2)
    outage.primary.start()
    outage.confirm_copies(outage.result.ended[ended:])
    time.sleep(SECONDS)


@fault("maxmemory reached: OOM errors")
def maxmemory(outage: Outage) -> None:
    with outage.primary.client() as client:
        client.config_set("maxmemory", 1)
        outage.confirm(2, "OOM|maxmemory", outage.primary)
        client.config_resetstat()
        outage.confirm(SECONDS, "OOM|maxmemory", outage.primary)
        commands = client.info("commandstats").values()
        client.config_set("maxmemory", 0)
    # A quarter of them are this proof's own; each worker of the site tries every two seconds.
    refused = sum(command["rejected_calls"] for command in commands)
    few = refused < 4 * SECONDS / LOOK_SECONDS
    assert few or STOCK, f"{refused} commands: the breaker is not used"


@fault("READONLY: became a replica")
def readonly(outage: Outage) -> None:
    with outage.primary.client() as client:
        client.replicaof("127.0.0.1", free_port())
        outage.confirm(SECONDS, "read only replica", outage.primary)
        client.replicaof("NO", "ONE")


@fault("LOADING a large file")
def loading(outage: Outage) -> None:
    with outage.primary.client(db=9) as client:
        for thousand in range(20):
            client.mset({f"{thousand}-{number}": "x" * 100 for number in range(1000)})
        client.save()
    outage.primary.kill()
    slowly = ("key-load-delay 1000", "loading-process-events-interval-bytes 1024")
    with outage.configured(*slowly):
        outage.primary.start(wait=False)
        outage.confirm(SECONDS, "loading", outage.primary, settle=2)
    outage.primary.start()


@fault("connection limit reached")
def connection_limit(outage: Outage) -> None:
    with outage.primary.client(single_connection_client=True) as client:
        client.config_set("maxclients", 1)
        outage.disconnect_clients(client)
        outage.confirm(SECONDS, "max number of clients|[Rr]eset|closed", outage.primary)
        client.config_set("maxclients", 10_000)


@fault("FLUSHALL, repeatedly")
def flushall(outage: Outage) -> None:
    flushed = 0
    with outage.primary.client(db=outage.database) as client:
        for _ in range(int(SECONDS / 0.15)):
            flushed += client.dbsize()
            client.flushall()
            time.sleep(0.15)
    assert flushed, "there was nothing to flush"
    outage.observed(f"{flushed} keys flushed")


@fault("wrong password")
def wrong_password(outage: Outage) -> None:
    with outage.primary.client(single_connection_client=True) as client:
        client.config_set("requirepass", "another")
        outage.disconnect_clients(client)
        outage.confirm(SECONDS, "invalid username-password|WRONGPASS", outage.primary)
        client.config_set("requirepass", PASSWORD)


@fault("wrong database number")
def wrong_database(outage: Outage) -> None:
    with outage.configured("databases 1"):
        outage.primary.start(empty=True)
        outage.confirm(SECONDS, "DB index is out of range", outage.primary)
    outage.primary.start(empty=True)


@fault("another program at its port")
def not_redis(outage: Outage) -> None:
    outage.primary.kill()
    with web_server(outage.primary.port):
        outage.confirm(SECONDS, "[Pp]rotocol", outage.primary)
    outage.primary.start(empty=True)
