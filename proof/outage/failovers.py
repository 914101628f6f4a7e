"""Faults of Sentinels and clusters, which fail over by themselves."""

import time

from proof.outage.faults import ALL, FAULTS, SECONDS, fault
from proof.outage.outage import HUNG, PASSWORD, Outage

__all__ = ["FAULTS"]  # with those of this module
MANY = ALL[1:]


@fault("all hung for 5 s", *MANY)
def all_hung_5s(outage: Outage) -> None:
    for server in outage.everyone:
        server.pause()
    outage.confirm(5, HUNG, *outage.everyone)
    for server in outage.everyone:
        server.resume()


@fault("failover: primary killed", *MANY)
def failover(outage: Outage) -> None:
    old = outage.primary
    old.kill()
    outage.confirm_failover(old)


@fault("failover: planned", *MANY)
def planned_failover(outage: Outage) -> None:
    old, topology = outage.primary, outage.topology
    if topology.sentinels:
        with topology.sentinels[0].client() as client:
            client.sentinel_failover(topology.environment()["REDIS_SENTINEL_SERVICE"])
    else:
        links = {server: server.replication().get("master_port") for server in topology.servers}
        replica = next(server for server, port in links.items() if port == old.port)
        with replica.client() as client:
            client.execute_command("CLUSTER FAILOVER")
    outage.confirm_failover(old)


@fault("slots resharded while they are in use", "redis-cluster")
def resharded(outage: Outage) -> None:
    """For a while, each node has half of their keys, and redirects some commands (ASK)."""
    source, target, *_ = outage.topology.primaries
    with source.client() as old, target.client() as new:
        ids = [client.execute_command("CLUSTER MYID") for client in (old, new)]
        slots = sorted(
            {int(old.execute_command("CLUSTER KEYSLOT", key)) for key in old.scan_iter()}
        )
        for slot in slots:
            new.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", ids[0])
            old.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", ids[1])
        moved = 0
        for part in (slots[::2], slots[1::2]):
            for slot in part:
                keys = old.execute_command("CLUSTER GETKEYSINSLOT", slot, 10_000)
                for key in keys:
                    old.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 2000,
                                        "REPLACE", "AUTH", PASSWORD, "KEYS", key)  # fmt: skip
                moved += len(keys)
            time.sleep(SECONDS / 2)
        for slot in slots:
            for client in (new, old):
                client.execute_command("CLUSTER SETSLOT", slot, "NODE", ids[1])
    assert moved, "No key was in use."
    outage.observed(f"{len(slots)} slots with {moved} keys moved")


@fault("one Sentinel dead", "redis-sentinel")
def one_sentinel_dead(outage: Outage) -> None:
    first = outage.topology.sentinels[0]
    first.kill()
    outage.confirm(SECONDS, "refused", first)


@fault("all Sentinels dead", "redis-sentinel")
def all_sentinels_dead(outage: Outage) -> None:
    for sentinel in outage.topology.sentinels:
        sentinel.kill()
    outage.confirm(SECONDS, "refused", *outage.topology.sentinels)
    for sentinel in outage.topology.sentinels:
        sentinel.start()


@fault("primary cut off from its replicas, then killed", "redis-sentinel")
def cut_off(outage: Outage) -> None:
    old = outage.primary
    replicas = [server for server in outage.topology.servers if server is not old]
    for replica in replicas:
        with replica.client() as client:
            client.config_set("masterauth", "another")
    with old.client() as client:
        client.client_kill_filter(_type="replica")
        ended = len(outage.result.ended)
        time.sleep(2)
        assert client.info("replication")["connected_slaves"] == 0
    lost = outage.result.ended[ended:]
    old.kill()
    for replica in replicas:
        with replica.client() as client:
            client.config_set("masterauth", PASSWORD)
    outage.confirm_failover(old)
    outage.confirm_copies(lost)  # of those from before the cut
