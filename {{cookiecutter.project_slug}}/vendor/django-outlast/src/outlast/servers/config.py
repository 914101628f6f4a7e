"""The configuration files of servers, Sentinels and nodes of a cluster."""

import secrets
from collections.abc import Sequence
from pathlib import Path

from .process import HOST, Server, quoted

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


def tls_lines(port: int, folder: Path | None) -> list[str]:
    """Return the lines by which a server speaks TLS only; none without a folder."""
    if not folder:
        return []
    files = {"cert": "cert.pem", "key": "key.pem", "ca-cert": "ca.pem"}
    lines = [f"tls-{name}-file {quoted(folder / file)}" for name, file in files.items()]
    lines += ["tls-replication yes", "tls-cluster yes", "tls-auth-clients optional"]
    return ["port 0", f"tls-port {port}", *lines]


def login_lines(username: str, password: str) -> list[str]:
    """Return the lines by which servers demand a password, and replicas log in with it."""
    if not password:
        return []
    first = f"masteruser {username}" if username else f"requirepass {quoted(password)}"
    return [first, f"masterauth {quoted(password)}"]


def sentinel_lines(
    servers: Sequence[Server], sentinels: Sequence[Server], username: str, password: str
) -> dict[Server, list[str]]:
    """Return lines for each Sentinel that name all others, so that they need not search."""
    primary, *replicas = servers
    ids = {sentinel: secrets.token_hex(20) for sentinel in sentinels}
    quorum = len(sentinels) // 2 + 1
    lines = [f"sentinel monitor {SERVICE} {HOST} {primary.port} {quorum}"]
    lines += [f"sentinel known-replica {SERVICE} {HOST} {each.port}" for each in replicas]
    lines += [f"sentinel auth-pass {SERVICE} {quoted(password)}"] if password else []
    lines += [f"sentinel auth-user {SERVICE} {username}"] if username else []
    known = {s: f"sentinel known-sentinel {SERVICE} {HOST} {s.port} {ids[s]}" for s in sentinels}
    return {
        me: [*lines, f"sentinel myid {ids[me]}", *(known[s] for s in sentinels if s is not me)]
        for me in sentinels
    }


def cluster_nodes(servers: Sequence[Server], shards: int) -> dict[Server, str]:
    """Return a nodes.conf for each server that names all: meeting would take seconds.

    The first servers are the primaries, the others their replicas in turn.
    """
    ids = {server: secrets.token_hex(20) for server in servers}
    nodes = {}
    for number, server in enumerate(servers):
        shard = number % shards
        first, end = (SLOTS * n // shards for n in (shard, shard + 1))
        role, slots = "master -", f" {first}-{end - 1}"
        if number >= shards:
            role, slots = f"slave {ids[servers[shard]]}", ""
        place = f"{ids[server]} {HOST}:{server.port}@{server.bus}"
        nodes[server] = f"{place} {{}}{role} 0 0 {shard + 1} connected{slots}\n"
    last = f"vars currentEpoch {shards} lastVoteEpoch 0\n"
    return {
        me: "".join(line.format("myself," * (s is me)) for s, line in nodes.items()) + last
        for me in servers
    }
