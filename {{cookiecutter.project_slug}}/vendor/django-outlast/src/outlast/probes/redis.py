"""Probes of Redis and of the Sentinels that know where it is."""

from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, cast

from django.conf import settings
from django.core.cache import caches

from outlast.advice import TroubleError
from outlast.cache import RedisCache
from outlast.conf import conf
from outlast.probes import reach
from outlast.probes.base import Finding, Probe, down, fine, warning
from outlast.probes.relational import clock_finding
from outlast.redis import HostPort

LAG_SECONDS = 10
LAG_BYTES = 1_000_000
MEMORY_SHARE = 0.9
CONNECTION_SHARE = 0.8


def services() -> list[Probe]:
    """Each Sentinel, and the server that takes the writes."""
    numbers = range(1, len(reach.sentinel_addresses()) + 1)
    return [
        *(Probe(f"sentinel {number}", partial(sentinel, number)) for number in numbers),
        Probe("redis", primary),
    ]


def examinations() -> list[Probe]:
    """What a closer look at the primary shows."""
    return [
        *(
            [Probe("redis replicas", replicas, needs="redis")]
            if reach.sentinel_addresses()
            else []
        ),
        Probe("redis memory", memory, needs="redis"),
        Probe("redis persistence", persistence, needs="redis"),
        Probe("redis connections", connections, needs="redis"),
        Probe("redis clock", clock, needs="redis"),
    ]


def sentinel(number: int) -> Finding:
    """Whom this Sentinel calls the primary, and whether it sees enough others for a failover."""
    address = reach.sentinel_addresses()[number - 1]
    with reach.sentinel_at(address) as client:
        state = cast(dict[str, Any], client.sentinel_master(reach.service()))
    others, quorum = state["num-other-sentinels"], state["quorum"]
    text = (
        f"at {address[0]}:{address[1]}, primary {state['ip']}:{state['port']}, "
        f"replicas {state['num-slaves']}, other Sentinels {others}, quorum {quorum}"
    )
    if others + 1 < len(reach.sentinel_addresses()):
        return warning(
            f"{text}: it does not know all {len(reach.sentinel_addresses())} of them.",
            "See that all Sentinels monitor the same primary and reach each other",
        )
    if not state["num-slaves"]:
        return warning(
            f"{text}: it knows nobody who could take over.",
            "Ask again in 10 s, since it looks around that often; else start a replica",
        )
    return fine(text)


def primary() -> Finding:
    """Ask it what the site asks all the time: to remember something for a second."""
    with reach.primary() as (client, address):
        client.set(f"{reach.cache_setting()['KEY_PREFIX']}:doctor", "", px=1000)
        info = client.info("server")
    name = "Valkey" if "valkey_version" in info else "Redis"
    return fine(f"{name} {info.get('valkey_version', info['redis_version'])} at {address}")


def memory() -> Finding:
    """How full it is, and what it drops when it is."""
    with reach.primary() as (client, _):
        info = client.info("everything")
    used, limit = info["used_memory"], info["maxmemory"]
    policy, evicted = info["maxmemory_policy"], info["evicted_keys"]
    text = (
        f"{used / 1e6:.1f} MB used of {f'{limit / 1e6:.1f} MB' if limit else 'no limit'}, "
        f"policy {policy}, {evicted:,} keys evicted"
    )
    if limit and policy == "noeviction":
        return warning(
            f"{text}: once full it refuses writes.",
            "Let it evict: redis-cli CONFIG SET maxmemory-policy allkeys-lru",
        )
    if not limit and not settings.DEBUG:
        return warning(
            f"{text}: it grows until the system ends it.",
            "Set a limit: redis-cli CONFIG SET maxmemory 256mb (deploy/redis.conf)",
        )
    if limit and used > MEMORY_SHARE * limit and evicted:
        return warning(f"{text}: it drops entries all the time.", "Give it more: maxmemory")
    return fine(text)


def persistence() -> Finding:
    """Whether it saves to disk, which nothing here needs, and whether that works."""
    with reach.primary() as (client, _):
        info = client.info("persistence")
    saved = datetime.fromtimestamp(info["rdb_last_save_time"], UTC)
    text = f"append-only file {'on' if info['aof_enabled'] else 'off'}, "
    text += f"last snapshot {saved:%Y-%m-%d %H:%M} UTC, "
    text += f"{info['rdb_changes_since_last_save']:,} changes since"
    failed = "err" in (info["rdb_last_bgsave_status"], info.get("aof_last_write_status"))
    if failed:
        return warning(
            f"{text}: the last one failed.",
            'Make room on its disk, or let it not save: redis-cli CONFIG SET save ""',
        )
    return fine(text)


def connections() -> Finding:
    """How many connections are open of those it allows, and how many this site may open."""
    with reach.primary() as (client, _):
        info = client.info("clients")
    opened, limit = info["connected_clients"], info.get("maxclients", 0)
    pool = cast(RedisCache, caches["default"]).client.connection_pool.max_connections
    wanted = conf.WORKERS * pool
    sum_of_pools = f"{wanted:,} ({conf.WORKERS} x {pool:,})"
    text = f"{opened:,} open of {limit:,}, the site may open {sum_of_pools}"
    if limit and opened > CONNECTION_SHARE * limit:
        return warning(f"{text}: soon it refuses new ones.", "Raise maxclients: docs/redis.md")
    if limit and wanted > limit:
        return warning(
            f"{text}: more than it allows.",
            f"Set ?max_connections={limit // (2 * conf.WORKERS)} at the end of "
            "REDIS_URL, or raise maxclients: docs/redis.md",
        )
    return fine(text)


def clock() -> Finding:
    """How far its clock is from this machine's."""
    with reach.primary() as (client, _):
        seconds, microseconds = client.time()
    return clock_finding(datetime.fromtimestamp(seconds + microseconds / 1e6, UTC))


def replicas() -> Finding:
    """Who follows the primary and how far behind, and who of those that should does not."""
    with reach.primary() as (client, _):
        info = client.info("replication")
    found = [info[f"slave{number}"] for number in range(info["connected_slaves"])]
    behind = [max(0, info["master_repl_offset"] - replica["offset"]) for replica in found]
    text = ", ".join(
        f"{replica['ip']}:{replica['port']} {replica['state']}, lag {replica['lag']} s, "
        f"{count:,} bytes behind"
        for replica, count in zip(found, behind, strict=True)
    )
    if not found:
        return down(
            "No replica follows the primary: there is nobody to fail over to.",
            "Start one with replicaof HOST PORT in its redis.conf (and masterauth)",
        )
    following = {(replica["ip"], int(replica["port"])) for replica in found}
    if missing := _lost_replicas(following):
        return warning(
            f"{text}; lost: {', '.join(missing)}.",
            "Start it again; just after a failover wait 15 s",
        )
    if any(
        replica["state"] != "online" or replica["lag"] > LAG_SECONDS or count > LAG_BYTES
        for replica, count in zip(found, behind, strict=True)
    ):
        return warning(f"{text}.", "See that it runs and reaches the primary")
    return fine(text)


def _lost_replicas(following: set[HostPort]) -> list[str]:
    """Return the servers that a Sentinel knows and that do not follow the primary."""
    for address in reach.sentinel_addresses():
        with suppress(TroubleError), reach.sentinel_at(address) as client:
            known = {(e["ip"], int(e["port"])) for e in client.sentinel_slaves(reach.service())}
            return [f"{host}:{port}" for host, port in sorted(known - following)]
    return []
