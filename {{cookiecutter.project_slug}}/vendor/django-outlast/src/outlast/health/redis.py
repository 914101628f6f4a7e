"""Health checks of Redis and of its Sentinels, each with one attempt and short timeouts."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from django.conf import settings
from redis import ConnectionPool, Redis, RedisError

from outlast.addresses import Address, HostPort
from outlast.health.errors import Service, read_redis_address, redis_service
from outlast.health.runner import Concern, Probe, Problem
from outlast.redis.connections import sentinel_timeout, short_timeouts

REPLY_SECONDS = 1.0  # at most, for one reply; Windows takes longer to refuse a connection
LAG_SECONDS = 10
LAG_BYTES = 1_000_000


def services(seconds: float) -> list[Probe]:
    """Return probes of each Sentinel, and of the server that takes writes.

    `seconds`: to connect, and for one reply, which has REPLY_SECONDS at most.
    """
    address = read_redis_address()
    found = [
        Probe(f"sentinel {number}", partial(sentinel, place, seconds))
        for number, place in enumerate(address.hosts if address.service else (), 1)
    ]
    return [*found, Probe("redis", partial(cluster if address.cluster else server, seconds))]


def diagnostics() -> list[Probe]:
    """Return a probe that only the doctor asks."""
    found = [Probe("redis replicas", replicas, needs="redis")]
    return found if read_redis_address().service else []


@contextmanager
def connect(service: Service, options: Any, seconds: float) -> Iterator[Any]:
    """Yield a client; raise Problem, which explains any error of it."""
    timeouts = {**short_timeouts(seconds), "socket_timeout": min(seconds, REPLY_SECONDS)}
    arguments = {**timeouts, "decode_responses": True, **options}
    if service.host:
        arguments |= {"host": service.host, "port": service.port}
    pool = ConnectionPool(**arguments)
    try:
        yield Redis(connection_pool=pool)
    except (RedisError, OSError) as error:
        raise Problem(*service.explain(error)) from error
    finally:
        pool.disconnect()


@contextmanager
def sentinel_at(place: HostPort, seconds: float) -> Iterator[Any]:
    """Yield a client of a Sentinel; raise Problem."""
    variable = "REDIS_SENTINELS or REDIS_SENTINEL_PASSWORD"
    service = Service("sentinel", "the Sentinel", "{}:{}".format(*place), *place, variable)
    with connect(service, read_redis_address().sentinel_options, seconds) as client:
        yield client


def find_primary(address: Address) -> Service:
    """Return the primary that all answering Sentinels name; raise Problem."""
    named = Counter[HostPort]()
    for place in address.hosts:
        with suppress(Problem), sentinel_at(place, sentinel_timeout(address)) as client:
            named.update(filter(None, [client.sentinel_get_master_addr_by_name(address.service)]))
    if len(named) > 1:
        votes = ", ".join(f"{count} name {host}:{port}" for (host, port), count in named.items())
        raise Problem(
            f"The Sentinels disagree on the primary: {votes}.",
            "Wait 10 s, since a failover may be in progress, and run this again",
            "If this continues, restart the Sentinels in the minority",
        )
    for host, port in named:
        return Service("redis", "Redis", f"{host}:{port}", host, port, "REDIS_PASSWORD")
    raise Problem(
        f"None of the {len(address.hosts)} Sentinels names a primary for {address.service!r}.",
        "See the lines about the Sentinels",
    )


def server(seconds: float) -> str:
    """Write a key that expires after a second; warn of a memory without limit or eviction."""
    address = read_redis_address()
    service = find_primary(address) if address.service else redis_service(address)
    with connect(service, address.options, seconds) as client:
        info = client.info()
        if info.get("redis_mode", info.get("server_mode")) == "cluster":
            raise RedisError("MOVED 0 by a node of a cluster")
        client.set(f"{settings.CACHES['default'].get('KEY_PREFIX', '')}:doctor", "", px=1000)
    name = "Valkey" if "valkey_version" in info else "Redis"
    version = info.get("valkey_version", info["redis_version"])
    text = f"{name} {version} at {service.place}, {info.get('used_memory', 0) / 1e6:.1f} MB used"
    if "maxmemory" not in info:  # of a managed service
        return text
    limit = info["maxmemory"]
    text += f" of {limit / 1e6:.1f} MB" if limit else ", no limit"
    if limit and info.get("maxmemory_policy") == "noeviction":
        raise Concern(
            f"{text}: when it is full, it refuses writes.",
            "Allow eviction: redis-cli CONFIG SET maxmemory-policy allkeys-lru",
        )
    if not limit and not settings.DEBUG:
        raise Concern(
            f"{text}: it can grow until the system kills it.",
            "Set a limit: redis-cli CONFIG SET maxmemory 256mb (deploy/redis.conf)",
        )
    return text


def cluster(seconds: float) -> str:
    """Check that the cluster serves all slots and no node has failed, as one node reports."""
    address = read_redis_address()
    service = redis_service(address)

    def ask(place: HostPort) -> Any:
        node = Service("redis", service.name, service.place, *place, service.variable)
        try:
            with connect(node, address.options, seconds) as client:
                return client.cluster("info")["cluster_state"], client.cluster("nodes")
        except Problem as problem:
            return problem

    with ThreadPoolExecutor(len(address.hosts)) as pool:  # several may hang
        answers = list(pool.map(ask, address.hosts))
    answer = next((each for each in answers if not isinstance(each, Problem)), answers[0])
    if isinstance(answer, Problem):
        raise answer
    state, nodes = answer
    lost = sorted(place for place, node in nodes.items() if "fail" in node["flags"])
    text = f"cluster of {len(nodes)} nodes, state {state}"
    text += f"; lost: {', '.join(lost)}" if lost else ""
    if state != "ok":
        raise Problem(f"{text}: it serves no commands.", "Start the lost nodes again")
    if lost:
        raise Concern(f"{text}.", "Start them: another failure can stop the cluster")
    return text


def sentinel(place: HostPort, seconds: float) -> str:
    """Report the primary that this Sentinel names; warn if it does not know the others."""
    address = read_redis_address()
    with sentinel_at(place, seconds) as client:
        state = client.sentinel_master(address.service)
    others = state["num-other-sentinels"]
    text = (
        f"at {place[0]}:{place[1]}, primary {state['ip']}:{state['port']}, "
        f"replicas {state['num-slaves']}, other Sentinels {others}, quorum {state['quorum']}"
    )
    if others + 1 < len(address.hosts):
        raise Concern(
            f"{text}: it does not know all {len(address.hosts)} of them.",
            "Check that all Sentinels monitor the same primary and can reach each other",
        )
    return text


def replicas() -> str:
    """Report the replicas and their lag; warn if one is late, or does not follow the primary."""
    address = read_redis_address()
    with connect(find_primary(address), address.options, REPLY_SECONDS) as client:
        info = client.info("replication")
    found = [info[f"slave{number}"] for number in range(info["connected_slaves"])]
    if not found:
        raise Problem(
            "No replica follows the primary, so a failover is impossible.",
            "Start one with replicaof HOST PORT (and masterauth) in its redis.conf",
        )
    late, parts, missing = False, [], known_replicas(address)
    for each in found:
        place, behind = f"{each['ip']}:{each['port']}", info["master_repl_offset"] - each["offset"]
        late |= each["state"] != "online" or each["lag"] > LAG_SECONDS or behind > LAG_BYTES
        parts.append(f"{place} {each['state']}, lag {each['lag']} s, {behind:,} bytes behind")
        missing.discard(place)
    text = ", ".join(parts)
    if missing:
        remedy = "Start it. After a failover, wait 15 s and run this again"
        raise Concern(f"{text}; missing: {', '.join(sorted(missing))}.", remedy)
    if late:
        raise Concern(f"{text}.", "Check that it runs and can reach the primary")
    return text


def known_replicas(address: Address) -> set[str]:
    """Return the replicas that the first answering Sentinel knows."""
    for place in address.hosts:
        with suppress(Problem), sentinel_at(place, sentinel_timeout(address)) as client:
            return {f"{e['ip']}:{e['port']}" for e in client.sentinel_slaves(address.service)}
    return set()
