"""Probes of Redis and of the Sentinels that know where it is."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

from django.conf import settings
from redis import ConnectionPool, Redis, RedisError
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry

from apps.backends.advice import TroubleError, explain_redis, ways_to_start_redis
from apps.backends.probes.base import Finding, Probe, down, fine, warning
from apps.backends.probes.relational import clock_finding

SECONDS = 0.4  # for one answer: Sentinels and then the primary fit into READY_SECONDS
LAG_SECONDS = 10
LAG_BYTES = 1_000_000
MEMORY_SHARE = 0.9


def services() -> list[Probe]:
    """Each Sentinel, and the server that takes the writes."""
    numbers = range(1, len(_sentinels()) + 1)
    return [
        *(Probe(f"sentinel {number}", partial(sentinel, number)) for number in numbers),
        Probe("redis", primary),
    ]


def examinations() -> list[Probe]:
    """What a closer look at the primary shows."""
    return [
        *([Probe("redis replicas", replicas, needs="redis")] if _sentinels() else []),
        Probe("redis memory", memory, needs="redis"),
        Probe("redis persistence", persistence, needs="redis"),
        Probe("redis connections", connections, needs="redis"),
        Probe("redis clock", clock, needs="redis"),
    ]


# --- Where it is ---


def _cache() -> dict[str, Any]:
    return settings.CACHES["default"]  # type: ignore[no-any-return]


def _options() -> dict[str, Any]:
    return dict(_cache().get("OPTIONS", {}))


def _sentinels() -> list[tuple[str, int]]:
    return list(_options().get("sentinels", []))


def _service() -> str:
    return str(parse_url(_cache()["LOCATION"])["host"])


def _bounded() -> dict[str, Any]:
    """One attempt, soon given up."""
    return {
        "socket_timeout": SECONDS,
        "socket_connect_timeout": SECONDS,
        "retry": Retry(NoBackoff(), 0),
        "decode_responses": True,
    }


@contextmanager
def _talking_to(what: str, host: str, port: int, **options: Any) -> Iterator[Redis]:
    """Yield a client; raise TroubleError with a sentence for whatever goes wrong with it."""
    at = str(options.get("path", f"{host}:{port}"))
    variable = "REDIS_URL"
    if _sentinels():
        login = "REDIS_SENTINEL_PASSWORD" if what == "the Sentinel" else "REDIS_PASSWORD"
        variable = f"REDIS_SENTINELS or {login}"
    pool = ConnectionPool(**({} if "path" in options else {"host": host, "port": port}), **options)
    try:
        with Redis(connection_pool=pool) as client:
            yield client
    except (RedisError, OSError) as error:
        start = ways_to_start_redis(host, port)
        raise TroubleError(*explain_redis(error, what, at, variable, start)) from error
    finally:
        pool.disconnect()


@contextmanager
def _sentinel(address: tuple[str, int]) -> Iterator[Redis]:
    options = _bounded() | _options().get("sentinel_kwargs", {})
    with _talking_to("the Sentinel", *address, **options) as client:
        yield client


@contextmanager
def _primary() -> Iterator[tuple[Redis, str]]:
    """Yield a client of the server that takes the writes, and the server's address."""
    place = parse_url(_cache()["LOCATION"])
    host, port = place.pop("host", "localhost"), place.pop("port", 6379)
    options = _bounded() | place
    if _sentinels():
        host, port = _agreed_primary()
        options |= {name: _options().get(name) for name in ("username", "password")}
    with _talking_to("Redis", host, port, **options) as client:
        yield client, str(place.get("path") or f"{host}:{port}")


def _agreed_primary() -> tuple[str, int]:
    """Return whom most of the Sentinels name; raises TroubleError if none names anybody."""

    def ask(address: tuple[str, int]) -> Any:
        try:
            with _sentinel(address) as client:
                return client.sentinel_get_master_addr_by_name(_service())
        except TroubleError:
            return None

    sentinels = _sentinels()
    with ThreadPoolExecutor(len(sentinels)) as pool:
        named = Counter(filter(None, pool.map(ask, sentinels)))
    if not named:
        raise TroubleError(
            f"None of the {len(sentinels)} Sentinels names a primary for {_service()!r}.",
            "See what is wrong with each of them in the lines about the Sentinels",
        )
    if len(named) > 1:
        raise TroubleError(
            "The Sentinels disagree on the primary: "
            + ", ".join(f"{count} say {host}:{port}" for (host, port), count in named.items())
            + ".",
            "Wait 10 s, as they may be in the middle of a failover, and ask again",
            "If that stays, restart those in the minority",
        )
    (host, port) = next(iter(named))
    return str(host), int(port)


# --- What it says ---


def sentinel(number: int) -> Finding:
    """Whom this Sentinel calls the primary, and whether it sees enough others for a failover."""
    address = _sentinels()[number - 1]
    with _sentinel(address) as client:
        state = client.sentinel_master(_service())
    others, quorum = state["num-other-sentinels"], state["quorum"]
    text = (
        f"at {address[0]}:{address[1]}, primary {state['ip']}:{state['port']}, "
        f"replicas {state['num-slaves']}, other Sentinels {others}, quorum {quorum}"
    )
    if others + 1 < len(_sentinels()):
        return warning(
            f"{text}: it does not know all {len(_sentinels())} of them.",
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
    with _primary() as (client, address):
        client.set(f"{_cache()['KEY_PREFIX']}:doctor", "", px=1000)
        info = client.info("server")
    name = "Valkey" if "valkey_version" in info else "Redis"
    return fine(f"{name} {info.get('valkey_version', info['redis_version'])} at {address}")


def memory() -> Finding:
    """How full it is, and what it drops when it is."""
    with _primary() as (client, _):
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
    with _primary() as (client, _):
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
    """How many connections are open of those it allows."""
    with _primary() as (client, _):
        info = client.info("clients")
    opened, limit = info["connected_clients"], info.get("maxclients", 0)
    text = f"{opened:,} open of {limit:,}"
    if limit and opened > 0.8 * limit:
        return warning(
            f"{text}: soon it refuses new ones.", "Raise maxclients: docs/redis.md has the sum"
        )
    return fine(text)


def clock() -> Finding:
    """How far its clock is from this machine's."""
    with _primary() as (client, _):
        seconds, microseconds = client.time()
    return clock_finding(datetime.fromtimestamp(seconds + microseconds / 1e6, UTC))


def replicas() -> Finding:
    """Who follows the primary, and how far behind."""
    with _primary() as (client, _):
        info = client.info("replication")
    offset, found = info["master_repl_offset"], []
    for number in range(info["connected_slaves"]):
        replica = info[f"slave{number}"]
        behind = max(0, offset - replica["offset"])
        found.append((replica, behind))
    text = ", ".join(
        f"{replica['ip']}:{replica['port']} {replica['state']}, lag {replica['lag']} s, "
        f"{behind:,} bytes behind"
        for replica, behind in found
    )
    if not found:
        return down(
            "No replica follows the primary: there is nobody to fail over to.",
            "Start one with replicaof HOST PORT in its redis.conf (and masterauth)",
        )
    late = any(
        replica["state"] != "online" or replica["lag"] > LAG_SECONDS or behind > LAG_BYTES
        for replica, behind in found
    )
    return warning(f"{text}.", "See that it runs and reaches the primary") if late else fine(text)
