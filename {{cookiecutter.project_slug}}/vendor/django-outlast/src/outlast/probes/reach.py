"""Where the site's Redis is, and how a probe reaches it: one attempt, soon given up."""

from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from redis import ConnectionPool, Redis, RedisError

from outlast.advice import (
    TroubleError,
    explain_redis,
    ways_to_start_redis,
    ways_to_start_sentinel,
)
from outlast.redis import Address, HostPort, ask_sentinel, impatient, read_address

SECONDS = 0.4  # for one answer: Sentinels and then the primary fit into READY_SECONDS


def cache_setting() -> dict[str, Any]:
    return settings.CACHES["default"]


def site_address() -> Address:
    return read_address(cache_setting()["LOCATION"], cache_setting().get("OPTIONS"))


def sentinel_addresses() -> list[HostPort]:
    """Return where the Sentinels are; none in the profile with one Redis."""
    address = site_address()
    return list(address.hosts) if address.service else []


def service() -> str:
    """Return the name by which the Sentinels know the primary."""
    return site_address().service


@contextmanager
def sentinel_at(address: HostPort) -> Iterator[Redis]:
    """Yield a client of a Sentinel; raises TroubleError."""
    with _client("the Sentinel", *address, site_address().sentinel_options) as client:
        yield client


@contextmanager
def primary() -> Iterator[tuple[Redis, str]]:
    """Yield a client of the server that takes the writes, and its address; raises TroubleError."""
    address = site_address()  # raises in a sentence, without the password
    host, port = address.hosts[0] if address.hosts else ("localhost", 6379)
    if address.service:
        host, port = agreed_primary()
    with _client("Redis", host, port, address.options) as client:
        yield client, str(address.options.get("path") or f"{host}:{port}")


def agreed_primary() -> HostPort:
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


def _named_by(address: HostPort) -> HostPort | None:
    try:
        with sentinel_at(address) as client:
            return ask_sentinel(client, service())
    except TroubleError:
        return None


@contextmanager
def _client(who: str, host: str, port: int, login: Mapping[str, Any]) -> Iterator[Redis]:
    """Yield a client; raise TroubleError with a sentence for whatever goes wrong with it."""
    variable = "REDIS_URL"
    if sentinel_addresses():
        password = "REDIS_SENTINEL_PASSWORD" if who == "the Sentinel" else "REDIS_PASSWORD"
        variable = f"REDIS_SENTINELS or {password}"
    place = {} if "path" in login else {"host": host, "port": port}
    arguments: dict[str, Any] = {
        **place,
        **impatient(SECONDS),
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
