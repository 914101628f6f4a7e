"""Health checks of Redis and of its Sentinels, each with one attempt and short time-outs."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from django.conf import settings
from redis import ConnectionPool, Redis, RedisError

from outlast.addresses import Address, HostPort
from outlast.health.asking import Concern, Probe, Problem
from outlast.health.errors import Service, read_redis_address, redis_service
from outlast.redis.connections import SENTINEL_TIMEOUT, impatient


def services(seconds: float) -> list[Probe]:
    """Return probes of each Sentinel, and of the server that takes writes.

    `seconds`: to connect, and for one reply.
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
    arguments = {**impatient(seconds), "decode_responses": True, **options}
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
    """Return what the first Sentinel that answers names; raise Problem."""
    for place in address.hosts:
        with suppress(Problem), sentinel_at(place, SENTINEL_TIMEOUT) as client:
            if found := client.sentinel_get_master_addr_by_name(address.service):
                host, port = found
                return Service("redis", "Redis", f"{host}:{port}", host, port, "REDIS_PASSWORD")
    raise Problem(
        f"None of the {len(address.hosts)} Sentinels names a primary for {address.service!r}.",
        "See the lines about the Sentinels",
    )


def server(seconds: float) -> str:
    """Write a key with a time to live of a second; warn of a memory without limit or eviction."""
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
    text += f" of {limit / 1e6:.1f} MB" if limit else " of no limit"
    if limit and info.get("maxmemory_policy") == "noeviction":
        raise Concern(
            f"{text}: when it is full, it refuses writes.",
            "Allow eviction: redis-cli CONFIG SET maxmemory-policy allkeys-lru",
        )
    if not limit and not settings.DEBUG:
        raise Concern(
            f"{text}: it grows until the system kills it.",
            "Set a limit: redis-cli CONFIG SET maxmemory 256mb (deploy/redis.conf)",
        )
    return text


def cluster(seconds: float) -> str:
    """Check that the cluster serves all slots and no node has failed, as one node reports."""
    address = read_redis_address()
    service, problems = redis_service(address), list[Problem]()
    for host, port in address.hosts:
        node = Service("redis", service.name, service.place, host, port, service.variable)
        try:
            with connect(node, address.options, seconds) as client:
                state, nodes = client.cluster("info")["cluster_state"], client.cluster("nodes")
            break
        except Problem as problem:
            problems.append(problem)
    else:
        raise problems[0]
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
    """Report the replicas that a Sentinel knows; warn if one does not follow the primary."""
    address = read_redis_address()
    known: dict[str, bool] = {}
    for place in address.hosts:
        with suppress(Problem), sentinel_at(place, SENTINEL_TIMEOUT) as client:
            for each in client.sentinel_slaves(address.service):
                gone = each["is_sdown"] or each["is_disconnected"]
                known[f"{each['ip']}:{each['port']}"] = not gone and (
                    each["role-reported"] == "master"  # a former one, which Sentinel will demote
                    or each["master-link-status"] == "ok"
                )
            break
    if not any(known.values()):
        raise Problem(
            "No replica follows the primary, so a failover is impossible.",
            "Start one with replicaof HOST PORT (and masterauth) in its redis.conf",
        )
    text = ", ".join(sorted(place for place, follows in known.items() if follows))
    if missing := ", ".join(sorted(place for place, follows in known.items() if not follows)):
        remedy = "Start it. After a failover, wait 15 s and run this again"
        raise Concern(f"{text}; missing: {missing}.", remedy)
    return text
