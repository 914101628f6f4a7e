"""What is done to Redis, by signals and commands to real servers: the cells of the table.

A fault is a function that breaks something, watches that it is broken, with clients of
its own, for as long as it lasts, and mends it. `Scene.tidy` brings the servers back to
where they were, however a fault left them.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

from proof.outage.scene import HUNG, PASSWORD, Scene, web_server

SECONDS = 4.5  # of most faults; LEAVING of people.py fits in
BOTH = ("redis", "redis-sentinel")


class Fault(NamedTuple):
    """A row of the table: `name` for pytest, `title` for people."""

    name: str
    title: str
    cause: Callable[[Scene], None]

    def __str__(self) -> str:
        return self.name


FAULTS: dict[str, list[Fault]] = {profile: [] for profile in BOTH}


def fault(title: str, *profiles: str) -> Callable[[Callable[[Scene], None]], Callable[..., None]]:
    """Add a function to the rows of `profiles`, the column "redis" by default."""

    def register(cause: Callable[[Scene], None]) -> Callable[[Scene], None]:
        for profile in profiles or ("redis",):
            FAULTS[profile].append(Fault(cause.__name__.replace("_", "-"), title, cause))
        return cause

    return register


@fault("refused: all killed, stay down", *BOTH)
def refused(scene: Scene) -> None:
    everyone = scene.topology.sentinels + scene.topology.servers
    for server in everyone:
        server.kill()
    scene.watch(SECONDS, "refused", *everyone)
    for server in reversed(everyone):
        server.start()


@fault("killed, back after 3 s")
def killed_back_after_3s(scene: Scene) -> None:
    scene.primary.kill()
    scene.watch(3, "refused", scene.primary)
    scene.primary.start()


@fault("hung for 5 s", *BOTH)
def hung_5s(scene: Scene) -> None:
    old = scene.primary
    old.pause()
    scene.watch(5, HUNG, old)
    scene.failed_over(old)
    old.resume()


@fault("hung for good", *BOTH)
def hung_for_good(scene: Scene) -> None:
    old = scene.primary
    old.pause()
    scene.watch(SECONDS, HUNG, old)
    if not scene.failed_over(old):
        old.start(empty=True)  # as a service manager does, or an operator


@fault("restarted empty")
def restarted_empty(scene: Scene) -> None:
    with scene.primary.client(db=scene.database) as client:
        keys = client.dbsize()
    scene.primary.start(empty=True)
    with scene.primary.client(db=scene.database) as client:
        left = client.dbsize()
    assert left < keys, f"{left} keys of {keys} are still there"
    scene.saw(f"{keys - left} keys gone")
    time.sleep(SECONDS)


@fault("restarted from an old snapshot")
def restarted_from_a_snapshot(scene: Scene) -> None:
    with scene.primary.client() as client:
        client.save()
    ended = len(scene.ledger.ended)
    time.sleep(2)
    scene.primary.start()
    back = scene.copies_of(scene.ledger.ended[ended:])
    assert back, "Redis remembers no session that was ended since the snapshot."
    scene.saw(f"copies of {back} ended sessions are back")
    time.sleep(SECONDS)


@fault("maxmemory reached: OOM errors")
def maxmemory(scene: Scene) -> None:
    with scene.primary.client() as client:
        client.config_set("maxmemory", 1)
        scene.watch(SECONDS, "OOM|maxmemory", scene.primary)
        client.config_set("maxmemory", 0)


@fault("READONLY: became a replica")
def readonly(scene: Scene) -> None:
    with scene.primary.client() as client, scene.nobody() as port:
        client.replicaof("127.0.0.1", port)
        scene.watch(SECONDS, "read only replica", scene.primary)
        client.replicaof("NO", "ONE")


@fault("LOADING a large file")
def loading(scene: Scene) -> None:
    with scene.primary.client(db=9) as client:
        for thousand in range(20):
            client.mset({f"{thousand}-{number}": "x" * 100 for number in range(1000)})
        client.save()
    scene.primary.kill()
    slowly = ("key-load-delay 1000", "loading-process-events-interval-bytes 1024")
    with scene.configured(*slowly):
        scene.primary.start(wait=False)
        scene.watch(SECONDS, "loading", scene.primary, settle=2)
    scene.primary.start()


@fault("connection limit reached")
def connection_limit(scene: Scene) -> None:
    with scene.primary.client(single_connection_client=True) as client:
        client.config_set("maxclients", 1)
        scene.throw_out(client)
        scene.watch(SECONDS, "max number of clients|[Rr]eset|closed", scene.primary)
        client.config_set("maxclients", 10_000)


@fault("FLUSHALL, over and over")
def flushall(scene: Scene) -> None:
    flushed = 0
    with scene.primary.client(db=scene.database) as client:
        for _ in range(int(SECONDS / 0.15)):
            flushed += client.dbsize()
            client.flushall()
            time.sleep(0.15)
    assert flushed, "there was nothing to flush"
    scene.saw(f"{flushed} keys flushed")


@fault("wrong password")
def wrong_password(scene: Scene) -> None:
    with scene.primary.client(single_connection_client=True) as client:
        client.config_set("requirepass", "another")
        scene.throw_out(client)
        scene.watch(SECONDS, "invalid username-password|WRONGPASS", scene.primary)
        client.config_set("requirepass", PASSWORD)


@fault("wrong database number")
def wrong_database(scene: Scene) -> None:
    with scene.configured("databases 1"):
        scene.primary.start(empty=True)
        scene.watch(SECONDS, "DB index is out of range", scene.primary)
    scene.primary.start(empty=True)


@fault("not a Redis at all")
def not_redis(scene: Scene) -> None:
    scene.primary.kill()
    with web_server(scene.primary.port):
        scene.watch(SECONDS, "[Pp]rotocol", scene.primary)
    scene.primary.start(empty=True)


@fault("primary and Sentinels hung for 5 s", "redis-sentinel")
def hung_with_sentinels_5s(scene: Scene) -> None:
    hung = [scene.primary, *scene.topology.sentinels]
    for server in hung:
        server.pause()
    scene.watch(5, HUNG, *hung)
    for server in hung:
        server.resume()


@fault("primary and Sentinels hung for good", "redis-sentinel")
def hung_with_sentinels(scene: Scene) -> None:
    hung = [scene.primary, *scene.topology.sentinels]
    for server in hung:
        server.pause()
    scene.watch(SECONDS, HUNG, *hung)
    for server in hung:
        server.start()


@fault("failover: primary killed", "redis-sentinel")
def failover(scene: Scene) -> None:
    old = scene.primary
    old.kill()
    scene.watch_failover(old)


@fault("failover: planned", "redis-sentinel")
def planned_failover(scene: Scene) -> None:
    old, topology = scene.primary, scene.topology
    with topology.sentinels[0].client() as client:
        client.sentinel_failover(topology.environment()["REDIS_SENTINEL_SERVICE"])
    scene.watch_failover(old)


@fault("one Sentinel dead", "redis-sentinel")
def one_sentinel_dead(scene: Scene) -> None:
    first = scene.topology.sentinels[0]
    first.kill()
    scene.watch(SECONDS, "refused", first)


@fault("all Sentinels dead", "redis-sentinel")
def all_sentinels_dead(scene: Scene) -> None:
    for sentinel in scene.topology.sentinels:
        sentinel.kill()
    scene.watch(SECONDS, "refused", *scene.topology.sentinels)
    for sentinel in scene.topology.sentinels:
        sentinel.start()


@fault("primary cut off from its replicas, then killed", "redis-sentinel")
def cut_off(scene: Scene) -> None:
    old = scene.primary
    replicas = [server for server in scene.topology.servers if server is not old]
    for replica in replicas:
        with replica.client() as client:
            client.config_set("masterauth", "another")
    with old.client() as client:
        client.client_kill_filter(_type="replica")
        ended = len(scene.ledger.ended)
        time.sleep(2)
        assert client.info("replication")["connected_slaves"] == 0
    lost = scene.ledger.ended[ended:]
    old.kill()
    for replica in replicas:
        with replica.client() as client:
            client.config_set("masterauth", PASSWORD)
    scene.watch_failover(old)
    # Only sessions that the replicas had heard of come back: those of before the cut.
    back = scene.copies_of(lost)
    assert back, "The new primary remembers no session that the old one had deleted."
    scene.saw(f"copies of {back} ended sessions are back")
