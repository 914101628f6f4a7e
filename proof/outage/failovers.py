"""Faults of servers that fail over; `faults` has those that all can have."""

import time

from proof.outage.faults import CLUSTER, FAULTS, SECONDS, Fault, fault
from proof.outage.outage import HUNG, PASSWORD, Outage

__all__ = ["FAULTS", "Fault"]  # with those of this module


@fault("primary cut off from its replicas, then killed", "redis-sentinel")
def cut_off(outage: Outage) -> None:
    old = outage.primary
    replicas = [server for server in outage.topology.servers if server is not old]
    for replica in replicas:
        with replica.client() as client:
            client.config_set("masterauth", "another")
    with old.client() as client:
        client.client_kill_filter(_type="replica")
        ended = len(outage.recorder.ended)
        time.sleep(2)
        assert client.info("replication")["connected_slaves"] == 0
    lost = outage.recorder.ended[ended:]
    old.kill()
    for replica in replicas:
        with replica.client() as client:
            client.config_set("masterauth", PASSWORD)
    outage.confirm_failover(old)
    # Only sessions that the replicas had received of come back: those of before the cut.
    back = outage.copies_of(lost)
    assert back, "The new primary remembers no session that the old one had deleted."
    outage.observed(f"copies of {back} ended sessions are back")


@fault("all nodes hung for 5 s", CLUSTER)
def all_nodes_hung(outage: Outage) -> None:
    for server in outage.topology.servers:
        server.pause()
    outage.confirm(5, HUNG, *outage.topology.servers)
    for server in outage.topology.servers:
        server.resume()


@fault("slots resharded while they are in use", CLUSTER)
def resharded(outage: Outage) -> None:
    """Half of their keys are at either node for a while: some commands are asked to go on."""
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
