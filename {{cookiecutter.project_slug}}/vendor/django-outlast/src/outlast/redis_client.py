"""The one Redis client of a process: quick to give up, tried once, behind a breaker."""

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured
from redis import Redis
from redis.backoff import NoBackoff
from redis.client import Pipeline
from redis.connection import ConnectionPool, SSLConnection, parse_url
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from .breaker import Breaker
from .sentinel import LOOK_PATIENCE, Address, PrimaryPool


def greet(connection: Any) -> None:
    """Open a session as redis-py does, and make sure that it is a Redis who answers.

    redis-py takes any answer to a greeting that holds a password for consent.
    """
    connection.on_connect()
    hello = connection.handshake_metadata
    if not isinstance(hello, dict) or b"role" not in hello:
        raise RedisConnectionError("what answers is no Redis, or one older than 6.0")


def greet_primary(connection: Any) -> None:
    """The same; no replica either: Sentinels hear of a change, and tell it, a moment late."""
    greet(connection)
    if connection.handshake_metadata[b"role"] != b"master":
        raise RedisConnectionError(f"{connection.host}:{connection.port} is a replica by now")


TIMEOUT = 0.25  # seconds to connect, and for each answer
# redis-py's own: 5 s, ten retries, and 10 s whenever the server announces maintenance.
IMPATIENT = {
    "socket_timeout": TIMEOUT,
    "socket_connect_timeout": TIMEOUT,
    "retry": Retry(NoBackoff(), 0),
    "redis_connect_func": greet,
    "driver_info": None,  # two more answers to wait for
    "maint_notifications_config": MaintNotificationsConfig(enabled=False),
}
MAX_CONNECTIONS = 1000  # redis-py's 100 are soon in use where every request has a thread


class Client(Redis):
    """redis-py's client, every command of which goes through `breaker`.

    Raises breaker.Unavailable instead of redis-py's errors; see `Breaker.call` for the rest.
    A health check asks past it: `redis.Redis(connection_pool=client.connection_pool)`.
    """

    def __init__(self, pool: ConnectionPool, breaker: Breaker):
        super().__init__(connection_pool=pool)
        self.breaker = breaker

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """As in redis-py, through the breaker."""
        return self.breaker.call(super().execute_command, *args, **options)

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> "GuardedPipeline":
        """As in redis-py; the pipeline goes through the breaker as a whole."""
        return GuardedPipeline(self, transaction, shard_hint)


class GuardedPipeline(Pipeline):
    """A pipeline whose `execute` goes through the breaker of its client."""

    def __init__(self, client: Client, transaction: bool, shard_hint: Any):
        super().__init__(
            client.connection_pool, client.response_callbacks, transaction, shard_hint
        )
        self._breaker = client.breaker

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        """As in redis-py, whose errors repeat the command, and with it what is being stored."""
        return self._breaker.call(self._execute, super().execute, raise_on_error)

    @staticmethod
    def _execute(execute: Callable[..., list[Any]], raise_on_error: bool) -> list[Any]:
        results = execute(raise_on_error=False)
        for result in results:
            if raise_on_error and isinstance(result, Exception):
                raise result
        return results


def make_client(
    url: str,
    canary: str,
    *,
    sentinels: Sequence[Address] = (),
    sentinel_kwargs: dict[str, Any] | None = None,
    **options: Any,
) -> Client:
    """Return a client for `url`: redis://, rediss:// or unix://.

    `sentinels`: their hosts and ports; the host in `url` is then the name of the service.
    `sentinel_kwargs`: how to connect to them, such as their own password.
    `options`: arguments of redis-py's Connection; those in the query of `url` win.
    Raises ImproperlyConfigured for an address that is none.
    """
    host, path = host_and_path(url)
    connection = {**IMPATIENT, "max_connections": MAX_CONNECTIONS, **options, **parse_url(url)}
    secrets = [connection.get("password"), (sentinel_kwargs or {}).get("password")]
    if sentinels:
        service = host.partition(":")[0]
        address = f"{service} (Sentinels {', '.join(f'{h}:{p}' for h, p in sentinels)})"
        pool: ConnectionPool = make_primary_pool(service, sentinels, sentinel_kwargs, connection)
    else:
        address = host + path
        pool = ConnectionPool(**connection)
    asking = Redis(connection_pool=pool)

    breaker = Breaker(
        address,
        # A write: a full or a read-only Redis answers everything else.
        check=lambda: asking.set(canary, 1, ex=60),
        on_failure=lambda: pool.disconnect(inuse_connections=False),
        secrets=tuple(filter(None, secrets)),
    )
    return Client(pool, breaker)


def host_and_path(url: str) -> tuple[str, str]:
    """Return what of `url` may be shown, in the letters it is written in.

    Raises ImproperlyConfigured for what parse_url cannot read, or would read as something else.
    """
    try:
        parse_url(url)
        place = urlsplit(url)
        readable = "@" not in place.path and (
            place.scheme == "unix"
            or (bool(place.hostname) and (place.path.strip("/") or "0").isdecimal())
        )
    except ValueError:
        readable = False
    if not readable:
        # Neither the address nor the error of parse_url is shown: they may hold the password.
        raise ImproperlyConfigured(
            "The address of Redis (REDIS_URL) cannot be read: it must be "
            "redis://user:password@host:port/0, or begin with rediss:// or unix://, and signs "
            "in the password such as / @ # ? must be written %2F %40 %23 %3F."
        )
    return place.netloc.rpartition("@")[2], place.path


def make_primary_pool(
    service: str,
    sentinels: Sequence[Address],
    sentinel_kwargs: dict[str, Any] | None,
    connection: dict[str, Any],
) -> PrimaryPool:
    """Return the pool for the primary of `service`; see `make_client`."""
    patience = {"socket_timeout": LOOK_PATIENCE, "socket_connect_timeout": LOOK_PATIENCE}
    # Without the greeting of the newer protocol: one answer less to wait for.
    greeting = {"protocol": 2, "redis_connect_func": None, "decode_responses": True}
    login = {**IMPATIENT, **patience, **greeting, **(sentinel_kwargs or {})}
    connection = {k: v for k, v in connection.items() if k not in ("host", "port")}
    return PrimaryPool(
        service,
        [Redis(host, port, **login) for host, port in sentinels],
        ssl=connection.pop("connection_class", None) is SSLConnection,
        **connection | {"redis_connect_func": greet_primary},
    )
