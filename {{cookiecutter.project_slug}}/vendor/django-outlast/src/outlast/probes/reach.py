"""Where the site's Redis is, and how a probe reaches it: one attempt, soon given up."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from redis import ConnectionPool, Redis, RedisError
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry

from outlast.advice import (
    TroubleError,
    explain_redis,
    ways_to_start_redis,
    ways_to_start_sentinel,
)
from outlast.redis_client import host_and_path

Address = tuple[str, int]

SECONDS = 0.4  # for one answer: Sentinels and then the primary fit into READY_SECONDS


def cache_setting() -> dict[str, Any]:
    return settings.CACHES["default"]


def options() -> dict[str, Any]:
    return dict(cache_setting().get("OPTIONS", {}))


def sentinel_addresses() -> list[Address]:
    """Return where the Sentinels are; none in the profile with one Redis."""
    return list(options().get("sentinels", []))


def service() -> str:
    """Return the name by which the Sentinels know the primary."""
    host, _ = host_and_path(cache_setting()["LOCATION"])  # parse_url would change its letters
    return host.partition(":")[0]


@contextmanager
def sentinel_at(address: Address) -> Iterator[Redis]:
    """Yield a client of a Sentinel; raises TroubleError."""
    with _client("the Sentinel", *address, options().get("sentinel_kwargs", {})) as client:
        yield client


@contextmanager
def primary() -> Iterator[tuple[Redis, str]]:
    """Yield a client of the server that takes the writes, and its address; raises TroubleError."""
    host_and_path(cache_setting()["LOCATION"])  # raises in a sentence, without the password
    place = parse_url(cache_setting()["LOCATION"])
    host, port = place.pop("host", "localhost"), place.pop("port", 6379)
    if sentinel_addresses():
        host, port = agreed_primary()
        place |= {name: options().get(name) for name in ("username", "password")}
    with _client("Redis", host, port, place) as client:
        yield client, str(place.get("path") or f"{host}:{port}")


def agreed_primary() -> Address:
    """Return whom all Sentinels that answer name; raises TroubleError if they do not agree."""
    addresses = sentinel_addresses()
    with ThreadPoolExecutor(len(addresses)) as pool:
        named = Counter(filter(None, pool.map(_named_by, addresses)))
    if not named:
        raise TroubleError(
            f"None of the {len(addresses)} Sentinels names a primary for {service()!r}.",
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
    return next(iter(named))


def _named_by(address: Address) -> Address | None:
    try:
        with sentinel_at(address) as client:
            named = client.sentinel_get_master_addr_by_name(service())
    except TroubleError:
        return None
    return (str(named[0]), int(named[1])) if isinstance(named, tuple) else None


@contextmanager
def _client(who: str, host: str, port: int, login: dict[str, Any]) -> Iterator[Redis]:
    """Yield a client; raise TroubleError with a sentence for whatever goes wrong with it."""
    variable = "REDIS_URL"
    if sentinel_addresses():
        password = "REDIS_SENTINEL_PASSWORD" if who == "the Sentinel" else "REDIS_PASSWORD"
        variable = f"REDIS_SENTINELS or {password}"
    place = {} if "path" in login else {"host": host, "port": port}
    arguments: dict[str, Any] = {
        **place,
        "socket_timeout": SECONDS,
        "socket_connect_timeout": SECONDS,
        "retry": Retry(NoBackoff(), 0),
        "decode_responses": True,
        **login,
    }
    pool = ConnectionPool(**arguments)
    try:
        with Redis(connection_pool=pool) as client:
            yield client
    except (RedisError, OSError) as error:
        at, start = login.get("path", f"{host}:{port}"), ways_to_start_redis(host, port)
        if who == "the Sentinel":
            start = ways_to_start_sentinel(host)
        raise TroubleError(*explain_redis(error, who, at, variable, start)) from error
    finally:
        pool.disconnect()
