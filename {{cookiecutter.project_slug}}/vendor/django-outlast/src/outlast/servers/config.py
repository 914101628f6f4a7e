"""The default configuration of the servers that `Topology` starts."""

import hashlib
from collections.abc import Sequence

from .process import HOST, Server

SERVICE = "mymaster"
SLOTS = 16384  # of a cluster
# Nothing is saved, and replicas are filled at once: the defaults wait for seconds.
SERVERS = """save ""
maxmemory 256mb
maxmemory-policy allkeys-lru
repl-diskless-sync yes
repl-diskless-sync-delay 0
"""
SENTINELS = f"""sentinel down-after-milliseconds {SERVICE} 1000
sentinel failover-timeout {SERVICE} 3000
sentinel parallel-syncs {SERVICE} 5
"""


def name_of(server: Server) -> str:
    """Return the ID of a Sentinel or of a node of a cluster, of 40 hexadecimal digits."""
    return hashlib.sha1(str(server.port).encode(), usedforsecurity=False).hexdigest()


def cluster_nodes(me: Server, servers: Sequence[Server], shards: int) -> str:
    """Return the nodes.conf of a server, which lists all: CLUSTER MEET would take seconds.

    The first servers are the primaries, the others their replicas in turn.
    """
    text = ""
    for number, server in enumerate(servers):
        shard = number % shards
        first, end = (SLOTS * n // shards for n in (shard, shard + 1))
        role = "master -" if number < shards else f"slave {name_of(servers[shard])}"
        slots = f" {first}-{end - 1}" if number < shards else ""
        text += f"{name_of(server)} {HOST}:{server.port}@{server.bus} "
        text += f"{'myself,' * (server is me)}{role} 0 0 {shard + 1} connected{slots}\n"
    return f"{text}vars currentEpoch {shards} lastVoteEpoch 0\n"
