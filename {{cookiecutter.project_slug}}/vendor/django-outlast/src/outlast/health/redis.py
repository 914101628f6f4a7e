"""Health checks of Redis and of its Sentinels, each with one attempt and short time-outs."""

import socket
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, NamedTuple, cast

from django.conf import settings
from redis import ConnectionPool, Redis, RedisError

from outlast.health.asking import Finding, Probe, down, ok, warning
from outlast.health.errors import Service, ServiceError, read_redis_address, redis_service
from outlast.redis import HostPort, ask_sentinel, impatient

LAG_SECONDS = 10
LAG_BYTES = 1_000_000
MEMORY_SHARE = 0.9
CONNECTION_SHARE = 0.8


class Patience(NamedTuple):
    """Seconds to connect, and for one reply."""

    connect: float
    reply: float


READY = Patience(0.4, 0.4)  # Sentinels and then the primary within a second
DOCTOR = Patience(3.5, 1)  # Windows takes 2 s to say that nothing listens


def services(patience: Patience) -> list[Probe]:
    """Return probes of each Sentinel, and of the server that takes writes."""
    address = read_redis_address()
    sentinels = range(1, len(address.hosts) + 1) if address.service else ()
    return [
        *(Probe(f"sentinel {n}", partial(sentinel, n, patience)) for n in sentinels),
        Probe("redis", partial(server, patience)),
    ]


def diagnostics() -> list[Probe]:
    """Return probes that look closer at the primary."""
    found = [Probe("redis usage", usage, needs="redis")]
    if read_redis_address().service:
        found.append(Probe("redis replicas", replicas, needs="redis"))
    return found


# --- Connections ---


@contextmanager
def connect(
    service: Service, place: HostPort | None, options: Any, patience: Patience
) -> Iterator[Redis]:
    """Yield a client; raise ServiceError, which explains any error of it."""
    arguments = impatient() | {
        "socket_connect_timeout": patience.connect,
        "socket_timeout": patience.reply,
        "decode_responses": True,
        **({"host": place[0], "port": place[1]} if place else {}),
        **options,
    }
    pool = ConnectionPool(**arguments)
    try:
        with Redis(connection_pool=pool) as client:
            yield client
    except (RedisError, OSError) as error:
        raise ServiceError(*service.explain(error)) from error
    finally:
        pool.disconnect()


@contextmanager
def primary(patience: Patience = DOCTOR) -> Iterator[Redis]:
    """Yield a client of the server that takes writes; raise ServiceError."""
    address = read_redis_address()
    service, place = redis_service(address), address.hosts[0] if address.hosts else None
    if address.service:
        place = agreed_primary(patience)
        service = Service("redis", "Redis", "{}:{}".format(*place), *place, "REDIS_PASSWORD")
    if address.cluster:
        place = next((each for each in address.hosts if accepts(each, patience)), place)
    with connect(service, place, address.options, patience) as client:
        yield client


def accepts(place: HostPort, patience: Patience) -> bool:
    """Return whether a server accepts connections."""
    with suppress(OSError), socket.create_connection(place, patience.connect):
        return True
    return False


@contextmanager
def sentinel_at(place: HostPort, patience: Patience) -> Iterator[Redis]:
    """Yield a client of a Sentinel; raise ServiceError."""
    variable = "REDIS_SENTINELS or REDIS_SENTINEL_PASSWORD"
    service = Service("sentinel", "the Sentinel", "{}:{}".format(*place), *place, variable)
    with connect(service, place, read_redis_address().sentinel_options, patience) as client:
        yield client


def agreed_primary(patience: Patience) -> HostPort:
    """Return the primary that all answering Sentinels name; raise ServiceError otherwise."""
    address = read_redis_address()

    def ask(place: HostPort) -> HostPort | None:
        with suppress(ServiceError), sentinel_at(place, patience) as client:
            return ask_sentinel(client, address.service)
        return None

    with ThreadPoolExecutor(len(address.hosts)) as pool:
        named = Counter(filter(None, pool.map(ask, address.hosts)))
    if not named:
        raise ServiceError(
            f"None of the {len(address.hosts)} Sentinels names a primary for {address.service!r}.",
            "See the lines about the Sentinels",
        )
    if len(named) > 1:
        votes = ", ".join(f"{count} name {host}:{port}" for (host, port), count in named.items())
        raise ServiceError(
            f"The Sentinels disagree on the primary: {votes}.",
            "Wait 10 s, since a failover may be in progress, and run this again",
            "If it lasts, restart the Sentinels in the minority",
        )
    return next(iter(named))


# --- Probes ---


def server(patience: Patience) -> Finding:
    """Write a key for a second, as the site does all the time."""
    key = f"{settings.CACHES['default'].get('KEY_PREFIX', '')}:doctor"
    with primary(patience) as client:
        info = client.info("server")
        is_cluster = info.get("redis_mode", info.get("server_mode")) == "cluster"
        if read_redis_address().cluster:
            return cluster(client)  # raises for a server without cluster mode
        if is_cluster:
            raise RedisError("MOVED 0 by a node of a cluster")
        client.set(key, "", px=1000)
        place = client.connection_pool.connection_kwargs
    name = "Valkey" if "valkey_version" in info else "Redis"
    at = place.get("path") or f"{place['host']}:{place['port']}"
    return ok(f"{name} {info.get('valkey_version', info['redis_version'])} at {at}")


def cluster(client: Redis) -> Finding:
    """Whether the cluster serves all slots and has lost no node, as one of its nodes sees it."""
    state, nodes = client.cluster("info")["cluster_state"], client.cluster("nodes")
    text = f"cluster of {len(nodes)} nodes, state {state}"
    lost = sorted(place for place, node in nodes.items() if "fail" in node["flags"])
    missing = f"; lost: {', '.join(lost)}" if lost else ""
    if state != "ok":
        return down(f"{text}{missing}: it serves no commands.", "Start lost nodes again")
    if lost:
        return warning(f"{text}{missing}.", "Start them: the next failure may be one too many")
    return ok(text)


def sentinel(number: int, patience: Patience) -> Finding:
    """Which primary this Sentinel names, and whether it knows enough others for a failover."""
    address = read_redis_address()
    host, port = address.hosts[number - 1]
    with sentinel_at((host, port), patience) as client:
        state = cast(dict[str, Any], client.sentinel_master(address.service))
    others = state["num-other-sentinels"]
    text = (
        f"at {host}:{port}, primary {state['ip']}:{state['port']}, "
        f"replicas {state['num-slaves']}, other Sentinels {others}, quorum {state['quorum']}"
    )
    if others + 1 < len(address.hosts):
        return warning(
            f"{text}: it does not know all {len(address.hosts)} of them.",
            "Check that all Sentinels monitor the same primary and reach each other",
        )
    if not state["num-slaves"]:
        return warning(
            f"{text}: no replica can take over.",
            "Start a replica; if one was just started, run this again in 10 s",
        )
    return ok(text)


def usage() -> Finding:
    """How much memory and how many connections are used, and what happens at their limits."""
    with primary() as client:
        info = client.info("everything")
    used, limit, policy = info["used_memory"], info["maxmemory"], info["maxmemory_policy"]
    opened, most = info["connected_clients"], info.get("maxclients", 0)
    of = f"{limit / 1e6:.1f} MB" if limit else "no limit"
    text = (
        f"{used / 1e6:.1f} MB of {of}, policy {policy}, {info['evicted_keys']:,} keys evicted, "
        f"{opened:,} of {most:,} connections"
    )
    if opened > CONNECTION_SHARE * most > 0:
        return warning(f"{text}: soon it refuses new ones.", "Raise maxclients: docs/redis.md")
    if limit and policy == "noeviction":
        return warning(
            f"{text}: when its memory is full it refuses writes.",
            "Let it evict: redis-cli CONFIG SET maxmemory-policy allkeys-lru",
        )
    if not limit and not settings.DEBUG:
        return warning(
            f"{text}: its memory grows until the system ends it.",
            "Set a limit: redis-cli CONFIG SET maxmemory 256mb (deploy/redis.conf)",
        )
    if used > MEMORY_SHARE * limit > 0 and info["evicted_keys"]:
        return warning(f"{text}: it evicts all the time.", "Give it more memory: maxmemory")
    return ok(text)


def replicas() -> Finding:
    """Which replicas follow the primary, how far behind they are, and which are missing."""
    with primary() as client:
        info = client.info("replication")
    found = [info[f"slave{number}"] for number in range(info["connected_slaves"])]
    if not found:
        return down(
            "No replica follows the primary, so a failover is impossible.",
            "Start one with replicaof HOST PORT (and masterauth) in its redis.conf",
        )
    behind = [max(0, info["master_repl_offset"] - replica["offset"]) for replica in found]
    text = ", ".join(
        f"{r['ip']}:{r['port']} {r['state']}, lag {r['lag']} s, {count:,} bytes behind"
        for r, count in zip(found, behind, strict=True)
    )
    if missing := _known_replicas() - {(r["ip"], int(r["port"])) for r in found}:
        names = ", ".join(f"{host}:{port}" for host, port in sorted(missing))
        return warning(f"{text}; missing: {names}.", "Start it; after a failover wait 15 s")
    late = any(r["state"] != "online" or r["lag"] > LAG_SECONDS for r in found)
    if late or max(behind) > LAG_BYTES:
        return warning(f"{text}.", "Check that it runs and reaches the primary")
    return ok(text)


def _known_replicas() -> set[HostPort]:
    """Return the replicas that the first answering Sentinel knows."""
    address = read_redis_address()
    for place in address.hosts:
        with suppress(ServiceError), sentinel_at(place, DOCTOR) as client:
            return {(e["ip"], int(e["port"])) for e in client.sentinel_slaves(address.service)}
    return set()
