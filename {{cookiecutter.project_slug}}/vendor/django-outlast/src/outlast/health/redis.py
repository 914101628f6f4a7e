"""Health checks of Redis and of its Sentinels, each with one attempt and short time-outs."""

import socket
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, cast

from django.conf import settings
from redis import ConnectionPool, Redis, RedisError

from outlast.health.asking import Finding, Probe, down, ok, warning
from outlast.health.errors import Service, ServiceError, read_redis_address, redis_service
from outlast.redis import HostPort, impatient

LAG_SECONDS = 10
LAG_BYTES = 1_000_000


class Timeouts(NamedTuple):
    """Seconds to connect, and for one reply."""

    connect: float
    reply: float


READY = Timeouts(0.4, 0.4)  # Sentinels and then the primary within a second
DOCTOR = Timeouts(3.5, 1)  # Windows takes 2 s to say that nothing listens


def services(timeouts: Timeouts) -> list[Probe]:
    """Return probes of each Sentinel, and of the server that takes writes."""
    address = read_redis_address()
    numbers = range(1, len(address.hosts) + 1) if address.service else ()
    found = [
        Probe(f"sentinel {number}", partial(sentinel, number, timeouts)) for number in numbers
    ]
    return [*found, Probe("redis", partial(server, timeouts))]


def diagnostics() -> list[Probe]:
    """Return further probes of the primary."""
    found = [Probe("redis memory", memory, needs="redis")]
    if read_redis_address().service:
        found.append(Probe("redis replicas", replicas, needs="redis"))
    return found


# --- Connections ---


@contextmanager
def connect(service: Service, options: Any, timeouts: Timeouts) -> Iterator[Redis]:
    """Yield a client; raise ServiceError, which explains any error of it."""
    arguments = impatient() | {
        "socket_connect_timeout": timeouts.connect,
        "socket_timeout": timeouts.reply,
        "decode_responses": True,
        **({"host": service.host, "port": service.port} if service.host else {}),
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
def primary(timeouts: Timeouts = DOCTOR) -> Iterator[Redis]:
    """Yield a client of the server that takes writes; raise ServiceError."""
    address = read_redis_address()
    service = redis_service(address)
    if address.service:
        host, port = agreed_primary(timeouts)
        service = Service("redis", "Redis", f"{host}:{port}", host, port, "REDIS_PASSWORD")
    elif address.cluster:
        host, port = next(
            (each for each in address.hosts if accepts(each, timeouts)), address.hosts[0]
        )
        service = replace(service, host=host, port=port)
    with connect(service, address.options, timeouts) as client:
        yield client


def accepts(place: HostPort, timeouts: Timeouts) -> bool:
    """Return whether a server accepts connections."""
    with suppress(OSError), socket.create_connection(place, timeouts.connect):
        return True
    return False


@contextmanager
def sentinel_at(place: HostPort, timeouts: Timeouts = DOCTOR) -> Iterator[Any]:
    """Yield a client of a Sentinel; raise ServiceError."""
    variable = "REDIS_SENTINELS or REDIS_SENTINEL_PASSWORD"
    service = Service("sentinel", "the Sentinel", "{}:{}".format(*place), *place, variable)
    with connect(service, read_redis_address().sentinel_options, timeouts) as client:
        yield client


def agreed_primary(timeouts: Timeouts) -> HostPort:
    """Return the primary that all answering Sentinels name; raise ServiceError otherwise."""
    address = read_redis_address()

    def ask(place: HostPort) -> HostPort | None:
        with suppress(ServiceError), sentinel_at(place, timeouts) as client:
            return cast(HostPort | None, client.sentinel_get_master_addr_by_name(address.service))
        return None

    with ThreadPoolExecutor(len(address.hosts)) as pool:
        named = Counter(filter(None, pool.map(ask, address.hosts)))
    if len(named) == 1:
        return next(iter(named))
    if not named:
        raise ServiceError(
            f"None of the {len(address.hosts)} Sentinels names a primary for {address.service!r}.",
            "See the lines about the Sentinels",
        )
    votes = ", ".join(f"{count} name {host}:{port}" for (host, port), count in named.items())
    raise ServiceError(
        f"The Sentinels disagree on the primary: {votes}.",
        "Wait 10 s, since a failover may be in progress, and run this again",
        "If this continues, restart the Sentinels in the minority",
    )


# --- Probes ---


def server(timeouts: Timeouts) -> Finding:
    """Write a key with a time to live of a second."""
    key = f"{settings.CACHES['default'].get('KEY_PREFIX', '')}:doctor"
    with primary(timeouts) as client:
        if read_redis_address().cluster:
            return cluster(client)  # raises for a server without cluster mode
        info = client.info("server")
        if info.get("redis_mode", info.get("server_mode")) == "cluster":
            raise RedisError("MOVED 0 by a node of a cluster")
        client.set(key, "", px=1000)
        place = client.connection_pool.connection_kwargs
    name = "Valkey" if "valkey_version" in info else "Redis"
    at = place.get("path") or f"{place['host']}:{place['port']}"
    return ok(f"{name} {info.get('valkey_version', info['redis_version'])} at {at}")


def cluster(client: Redis) -> Finding:
    """Check that the cluster serves all slots and no node has failed, as one node reports."""
    state, nodes = client.cluster("info")["cluster_state"], client.cluster("nodes")
    lost = sorted(place for place, node in nodes.items() if "fail" in node["flags"])
    text = f"cluster of {len(nodes)} nodes, state {state}"
    text += f"; lost: {', '.join(lost)}" if lost else ""
    if state != "ok":
        return down(f"{text}: it serves no commands.", "Start the lost nodes again")
    if lost:
        return warning(f"{text}.", "Start them: another failure can stop the cluster")
    return ok(text)


def sentinel(number: int, timeouts: Timeouts) -> Finding:
    """Report the primary that this Sentinel names; warn if it does not know the others."""
    address = read_redis_address()
    host, port = address.hosts[number - 1]
    with sentinel_at((host, port), timeouts) as client:
        state = client.sentinel_master(address.service)
    others = state["num-other-sentinels"]
    text = (
        f"at {host}:{port}, primary {state['ip']}:{state['port']}, "
        f"replicas {state['num-slaves']}, other Sentinels {others}, quorum {state['quorum']}"
    )
    if others + 1 < len(address.hosts):
        return warning(
            f"{text}: it does not know all {len(address.hosts)} of them.",
            "Check that all Sentinels monitor the same primary and can reach each other",
        )
    return ok(text)


def memory() -> Finding:
    """Report the memory in use; warn without a limit or eviction."""
    with primary() as client:
        info = client.info("everything")
    used, limit, policy = info["used_memory"], info["maxmemory"], info["maxmemory_policy"]
    of = f"{limit / 1e6:.1f} MB" if limit else "no limit"
    text = f"{used / 1e6:.1f} MB used of {of}, policy {policy}"
    text += f", {info['evicted_keys']:,} keys evicted"
    if limit and policy == "noeviction":
        return warning(
            f"{text}: when it is full, it refuses writes.",
            "Allow eviction: redis-cli CONFIG SET maxmemory-policy allkeys-lru",
        )
    if not limit and not settings.DEBUG:
        return warning(
            f"{text}: it grows until the system kills it.",
            "Set a limit: redis-cli CONFIG SET maxmemory 256mb (deploy/redis.conf)",
        )
    return ok(text)


def replicas() -> Finding:
    """Report the replicas and their lag; warn if one is missing."""
    with primary() as client:
        info = client.info("replication")
    found = [info[f"slave{number}"] for number in range(info["connected_slaves"])]
    if not found:
        return down(
            "No replica follows the primary, so a failover is impossible.",
            "Start one with replicaof HOST PORT (and masterauth) in its redis.conf",
        )
    late, parts = False, []
    for each in found:
        behind = max(0, info["master_repl_offset"] - each["offset"])
        late |= each["state"] != "online" or each["lag"] > LAG_SECONDS or behind > LAG_BYTES
        place = f"{each['ip']}:{each['port']}"
        parts.append(f"{place} {each['state']}, lag {each['lag']} s, {behind:,} bytes behind")
    text = ", ".join(parts)
    if missing := known_replicas() - {(each["ip"], int(each["port"])) for each in found}:
        names = ", ".join(f"{host}:{port}" for host, port in sorted(missing))
        return warning(
            f"{text}; missing: {names}.",
            "Start it. After a failover, wait 15 s and run this again",
        )
    if late:
        return warning(f"{text}.", "Check that it runs and can reach the primary")
    return ok(text)


def known_replicas() -> set[HostPort]:
    """Return the replicas that the first answering Sentinel knows."""
    address = read_redis_address()
    for place in address.hosts:
        with suppress(ServiceError), sentinel_at(place) as client:
            return {(e["ip"], int(e["port"])) for e in client.sentinel_slaves(address.service)}
    return set()
