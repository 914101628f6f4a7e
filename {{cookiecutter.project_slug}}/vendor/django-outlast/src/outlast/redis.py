"""Redis for the whole process: where it is, one client for each address, one breaker for each.

The cache, the channel layer, the health checks and the system checks all read addresses, hide
passwords and choose time-outs here. See `outlast.cache` for the settings.
"""

import contextlib
import logging
import math
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast
from urllib.parse import quote, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured
from redis import Redis, exceptions
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.connection import Connection, ConnectionPool, SSLConnection, parse_url
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool, SentinelManagedConnection

logger = logging.getLogger(__name__)

TIMEOUT = 0.25  # seconds to connect, and for each reply
SENTINEL_TIMEOUT = 0.1  # seconds for one Sentinel: another one knows the same
SENTINEL_INTERVAL = 1.0  # seconds between two questions to the Sentinels
LARGE = 1_000_000  # bytes of a value that may take longer than TIMEOUT to send
COOLDOWN = 2.0  # seconds that a failed Redis is left alone
MAX_CONNECTIONS = 1000  # redis-py's 100 are too few where each request has its own thread

HostPort = tuple[str, int]


class Unavailable(ConnectionError):  # noqa: N818
    """Redis cannot be used now. Its text names the address and the reason, never a password."""


# --- Addresses ---

SCHEMES = {"redis": "redis", "rediss": "rediss", "unix": "unix",
           "valkey": "redis", "valkeys": "rediss"}  # fmt: skip
# Not of connections, or such that the cache and the layer would not share one client.
DJANGO_OPTIONS = {"serializer", "pool_class", "parser_class", "driver_info"}


@dataclass(frozen=True)
class Address:
    """Where Redis is. Neither `str` nor `repr` shows a user name or a password.

    `hosts`: the server, the Sentinels or some nodes of the cluster; empty for a socket.
    `service`: the name by which the Sentinels know the servers; else empty.
    `options`: arguments of redis-py's connections to servers, `host` and `port` excepted.
    `sentinel_options`: those of connections to Sentinels.
    """

    hosts: tuple[HostPort, ...]
    service: str = ""
    cluster: bool = False
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    sentinel_options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        hosts = ", ".join(f"[{h}]:{p}" if ":" in h else f"{h}:{p}" for h, p in self.hosts)
        if self.service:
            return f"{self.service} (Sentinels {hosts})"
        if self.cluster:
            return f"cluster {hosts}"
        return f"{hosts}/{self.options.get('db', 0)}" if hosts else str(self.options["path"])

    @property
    def tls(self) -> bool:
        """Whether connections to servers are encrypted."""
        return self.options.get("connection_class") is SSLConnection

    @property
    def secrets(self) -> list[str]:
        """The passwords, to strike them out of messages."""
        found = [self.options.get("password"), self.sentinel_options.get("password")]
        return [str(secret) for secret in found if secret]


def read_address(
    location: str | Sequence[str], options: Mapping[str, Any] | None = None
) -> Address:
    """Return the address that LOCATION and OPTIONS of a cache, or a channel layer, describe.

    Raise ImproperlyConfigured, without repeating the address, if it cannot be read.
    """
    own = {k: v for k, v in (options or {}).items() if k not in DJANGO_OPTIONS}
    sentinels, cluster = own.pop("sentinels", None), own.pop("cluster", False)
    sentinel_options = dict(own.pop("sentinel_kwargs", None) or {})
    for each in (own, sentinel_options):
        if each.pop("ssl", False):  # an argument of redis-py's clients, not of connections
            each["connection_class"] = SSLConnection
    urls = [location] if isinstance(location, str) else list(location)
    if len(urls) != 1 and not (cluster and urls):
        raise ImproperlyConfigured(
            "LOCATION of the Redis cache must be one address: replicas lag behind, and return "
            "values that were deleted."
        )
    variable = "REDIS_CLUSTER" if cluster else "REDIS_URL"
    read = [_read_url(url, variable) for url in urls]
    connection = {**own, **read[0][1]}
    host, port = connection.pop("host", "localhost"), connection.pop("port", 6379)
    if sentinels:
        hosts = tuple((str(host), int(port)) for host, port in sentinels)
        return Address(hosts, read[0][0], False, connection, sentinel_options)
    if cluster:
        if connection.pop("db", 0):
            raise ImproperlyConfigured(
                "The address in REDIS_CLUSTER ends in a number other than 0, but a cluster has "
                "one database only: remove it."
            )
        nodes = ((each.get("host", host), each.get("port", 6379)) for _, each in read)
        return Address(tuple(nodes), "", True, connection)
    return Address(() if "path" in connection else ((host, port),), options=connection)


def _read_url(url: str, variable: str = "REDIS_URL") -> tuple[str, dict[str, Any]]:
    """Return the host as it is written and redis-py's connection arguments."""
    try:
        scheme, _, rest = url.partition("://")
        options = parse_url(f"{SCHEMES[scheme]}://{rest}")
        place = urlsplit(url)
        host = place.netloc.rpartition("@")[2]
        if place.scheme == "unix":
            misread = "@" in place.path or not place.path
        else:
            database = place.path.strip("/") or "0"
            misread = "@" in place.path + place.query or not place.hostname
            misread = misread or not database.isdecimal()
        # urlsplit drops newlines, and redis-py what follows "#".
        if misread or re.search(r"[\x00-\x1f#]", url):
            raise ValueError
        arguments = {k: v for k, v in options.items() if k != "max_connections"}
        arguments.pop("connection_class", Connection)(**arguments)  # raises for a misspelt one
    except (KeyError, TypeError, ValueError):
        # Neither the address nor the error is shown: they may hold the password.
        raise ImproperlyConfigured(
            f"The address of Redis ({variable}) cannot be read: it must be "
            "redis://user:password@host:port/0, or begin with rediss://, valkey://, valkeys:// "
            "or unix://, and signs in the password such as / @ # ? must be written "
            "%2F %40 %23 %3F."
        ) from None
    return re.sub(r":\d*$", "", host), options


def split_secrets(url: str, variable: str = "REDIS_URL") -> tuple[str, dict[str, str]]:
    """Return the address without user name and password, and these as OPTIONS of a cache.

    Django hides the option `password` on its error pages and in its mails, but no LOCATION.
    Raise ImproperlyConfigured, without repeating the address, if it cannot be read.
    """
    _, options = _read_url(url, variable)
    names = ("username", "password")
    found = {name: options[name] for name in names if options.get(name)}
    place = urlsplit(url)
    query = "&".join(
        part for part in place.query.split("&") if part.partition("=")[0] not in names
    )
    host = place.netloc.rpartition("@")[2]
    return f"{SCHEMES[place.scheme]}://{host}{place.path}" + (f"?{query}" if query else ""), found


def hide_secrets(text: str, secrets: Iterable[str]) -> str:
    """Return `text` without the secrets, as they are and as they are written in an address."""
    written = {form for secret in secrets if secret
               for form in (secret, quote(secret, safe=""), unquote(secret))}  # fmt: skip
    for secret in sorted(written, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


# --- Connections ---


def impatient(seconds: float = TIMEOUT) -> dict[str, Any]:
    """Return the arguments by which a connection gives up soon, and tries once.

    redis-py's own: 5 s, ten retries, and 10 s whenever the server announces maintenance.
    """
    return {
        "socket_timeout": seconds,
        "socket_connect_timeout": seconds,
        "retry": Retry(NoBackoff(), 0),
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }


def greet(connection: Any) -> None:
    """Log in as redis-py does; raise ConnectionError for whatever goes wrong on the way.

    redis-py treats any reply to HELLO with credentials as success, and raises ResponseError,
    AttributeError and others for replies of what is no Redis.
    """
    try:
        connection.on_connect()
        role = connection.handshake_metadata[b"role"]
    except (exceptions.ConnectionError, exceptions.TimeoutError):
        raise
    except exceptions.ResponseError as error:
        code = f"{error.status_code} " if error.status_code else ""
        raise exceptions.ConnectionError(f"{code}{error}") from error
    except Exception as error:
        what = "what answers is no Redis, or one older than 6.0"
        raise exceptions.ConnectionError(what) from error
    if role != b"master" and isinstance(connection, SentinelManagedConnection):
        # Sentinels hear of a change, and tell it, a moment late.
        here = f"{connection.host}:{connection.port}"
        raise exceptions.ConnectionError(f"{here} is a replica by now")


class Sentinels(Sentinel):
    """redis-py's, which names the primary it knows until it is time to ask again.

    redis-py asks for each new connection, and takes all Sentinels in turn, so that a hung one
    delays each. Here one caller asks at a time, for `SENTINEL_TIMEOUT` at most; the Sentinel
    that answered last is asked first. If none answers, the known primary stays in use.
    """

    def __init__(self, address: Address):
        plain = {"driver_info": None, "decode_responses": True}
        options = {**impatient(SENTINEL_TIMEOUT), **plain, **address.sentinel_options}
        super().__init__([])
        self.sentinels = [
            Redis(connection_pool=ConnectionPool(host=host, port=port, **options))
            for host, port in address.hosts
        ]
        self.primary: HostPort | None = None
        self.asking = threading.Lock()
        self._ask_at = 0.0  # time.monotonic()

    def discover_master(self, service_name: str) -> HostPort:
        """Return the primary; raise redis-py's ConnectionError if it is not known."""
        if not self.primary:
            return self._ask(service_name)
        if not self.is_due or not self.asking.acquire(blocking=False):
            return self.primary
        try:
            return self._ask(service_name)
        finally:
            self.asking.release()

    @property
    def is_due(self) -> bool:
        """Whether it is time to ask again."""
        return time.monotonic() >= self._ask_at

    def _ask(self, service: str) -> HostPort:
        now = time.monotonic()
        self._ask_at = now + SENTINEL_INTERVAL
        errors = []
        for _ in range(len(self.sentinels)):
            first, *others = self.sentinels
            try:
                if found := ask_sentinel(first, service):
                    return self._found(service, found)
                errors.append(f"{_place(first)} knows no service {service!r}")
            except (exceptions.RedisError, OSError) as error:
                errors.append(str(error))
            self.sentinels = [*others, first]
            if time.monotonic() >= now + SENTINEL_TIMEOUT:
                break
        if self.primary:
            return self.primary
        reasons = "; ".join(errors)
        raise exceptions.ConnectionError(f"no Sentinel names a primary ({reasons})")

    def _found(self, service: str, found: HostPort) -> HostPort:
        if self.primary and found != self.primary:
            new, old = (f"{host}:{port}" for host, port in (found, self.primary))
            logger.warning("Redis: the primary of %s is %s now, after %s.", service, new, old)
        self.primary = found
        return found


class PrimaryPool(SentinelConnectionPool):
    """redis-py's, which also asks while it has open connections.

    redis-py's asks when it connects, so that after a planned failover it goes on writing to
    the former primary, for about 11 s, and those writes are lost.
    """

    def get_connection(self, *_args: Any, **_options: Any) -> Connection:
        """Return a connection to the primary, after closing those to a former one."""
        self.get_master_address()
        return super().get_connection()

    @property
    def address(self) -> HostPort | None:
        """The primary, if it is known."""
        return cast("Sentinels", self.sentinel_manager).primary

    @property
    def is_due(self) -> bool:
        """Whether it is time to ask the Sentinels again."""
        return cast("Sentinels", self.sentinel_manager).is_due

    def refresh(self) -> None:
        """Ask the Sentinels if it is time; never raise."""
        with contextlib.suppress(exceptions.RedisError):
            self.get_master_address()


def ask_sentinel(sentinel: Any, service: str) -> HostPort | None:
    """Return the primary that this Sentinel names; None if it does not know the service."""
    found = sentinel.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", service)
    return (str(found[0]), int(found[1])) if found else None


def _place(sentinel: Any) -> str:
    at = sentinel.connection_pool.connection_kwargs
    return f"{at['host']}:{at['port']}"


# --- The breaker ---

# Replies that say "not now" or "not to you", whatever is asked. All others are about a key, a
# value or a command, and reach the caller. MOVED: a node of a cluster, asked as a single server.
UNUSABLE = {
    "LOADING", "OOM", "READONLY", "NOAUTH", "WRONGPASS", "NOPERM", "MISCONF", "MASTERDOWN",
    "CLUSTERDOWN", "NOREPLICAS", "BUSY", "DENIED", "MOVED",
}  # fmt: skip


def is_outage(error: BaseException | None) -> bool:
    """Return whether `error` says that Redis cannot be used at all."""
    if isinstance(error, exceptions.ResponseError):
        return (error.status_code or str(error).partition(" ")[0]) in UNUSABLE
    return isinstance(
        error,
        (
            exceptions.ConnectionError,
            exceptions.TimeoutError,
            exceptions.InvalidResponse,
            exceptions.RedisClusterException,
            exceptions.ClusterError,
            OSError,
        ),
    )


class Breaker:
    """A context manager that keeps all threads away from a Redis that has failed.

    After a failure it raises Unavailable at once, for `COOLDOWN` seconds. Then one caller
    probes: `check` must succeed before that caller goes on; the others are still refused. No
    lock is held while a thread waits for Redis. The start and the end of an outage are logged.
    """

    def __init__(
        self, address: Address, check: Callable[[], object], on_failure: Callable[[], object]
    ):
        self.address = address
        self.reason = ""  # why Redis is not used, in the words of the error; empty while it is
        self.check, self._on_failure = check, on_failure
        self._lock = threading.Lock()
        self._since = self._probe_at = 0.0  # times are time.monotonic()
        self._crowd_at = -math.inf

    @property
    def is_open(self) -> bool:
        """Whether Redis is left alone."""
        return bool(self.reason)

    def __enter__(self) -> None:
        if self.reason:
            self._probe()

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, exceptions.MaxConnectionsError):
            raise Unavailable(self._crowded()) from error
        if is_outage(error) and not isinstance(error, Unavailable):
            raise self.record_failure(error) from _without_secrets(error, self.address.secrets)

    def record_failure(self, error: BaseException | None) -> Unavailable:
        """Open the breaker, and return what to raise; log it if Redis was in use until now."""
        reason = str(error).strip().rstrip(".") or type(error).__name__
        with self._lock:
            begins = not self.reason
            self.reason = hide_secrets(reason, self.address.secrets)
            if begins:
                self._since = time.monotonic()
                self._probe_at = self._since + COOLDOWN
        self._on_failure()
        if begins:
            logger.warning(
                "%s The site goes on without it and tries again every %g s; 'manage.py doctor' "
                "says more.", self._unavailable(), COOLDOWN)  # fmt: skip
        return self._unavailable()

    def probe_soon(self) -> None:
        """Let the next caller probe: there are signs that Redis can be used again."""
        self._probe_at = 0.0

    def _probe(self) -> None:
        with self._lock:
            now = time.monotonic()
            if self.reason and now < self._probe_at:
                raise self._unavailable()
            self._probe_at = now + COOLDOWN
        try:
            self.check()
        except Exception as error:
            raise self.record_failure(error) from _without_secrets(error, self.address.secrets)
        with self._lock:
            over, self.reason = self.reason, ""
        if over:
            seconds = time.monotonic() - self._since
            logger.warning("Redis at %s is used again after %.1f s.", self.address, seconds)

    def _crowded(self) -> str:
        sentence = (
            f"All connections of this process to Redis at {self.address} are in use: "
            "raise max_connections in the OPTIONS of the cache."
        )
        if time.monotonic() >= self._crowd_at + 60:
            self._crowd_at = time.monotonic()
            logger.warning(sentence)
        return sentence

    def _unavailable(self) -> Unavailable:
        return Unavailable(f"Redis at {self.address} cannot be used: {self.reason}.")


def _without_secrets(error: BaseException | None, secrets: list[str]) -> BaseException | None:
    """Return `error` without the passwords in its text, and without tracebacks.

    Frames of redis-py hold the password that they log in with, and Django's error pages and
    mails show the variables of frames.
    """
    link = error
    while link:
        link.__traceback__ = None
        link.args = tuple(hide_secrets(str(arg), secrets) for arg in link.args)
        link = link.__cause__ or link.__context__
    return error


# --- Clients ---


class Client(Redis):
    """redis-py's client, each command of which goes through `breaker`; pipelines do not.

    Raises Unavailable for what `is_outage`; other errors of redis-py as they are.
    """

    def __init__(self, pool: ConnectionPool, breaker: Breaker):
        super().__init__(connection_pool=pool)
        self.breaker = breaker

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """As in redis-py, through the breaker."""
        with self.breaker:
            try:
                return super().execute_command(*args, **options)
            except (exceptions.ConnectionError, exceptions.TimeoutError) as error:
                size = max((len(arg) for arg in args if isinstance(arg, bytes)), default=0)
                if size <= LARGE:
                    raise
                # Redis hangs up on more than proto-max-bulk-len, 512 MB, and a network takes
                # its time for less: no reason to stop using it for other values.
                self.breaker.check()
                where = self.breaker.address
                sentence = f"Redis at {where} did not take a value of {size:,} bytes."
                logger.warning(sentence)
                raise Unavailable(sentence) from _without_secrets(error, where.secrets)


class ClusterClient(RedisCluster):
    """redis-py's client of a cluster, through a breaker, that connects at its first command.

    redis-py's connects in the constructor, where it raises while the cluster is away.
    """

    def __init__(self, address: Address, canary: str):
        self.breaker = Breaker(address, partial(self._check, canary), lambda: None)
        self.starting = threading.RLock()
        self.started = False

    def _start(self) -> None:
        # Reentrant: the constructor sends commands. No caller waits long for another's attempt.
        if not self.starting.acquire(timeout=TIMEOUT):
            raise Unavailable(f"Redis at {self.breaker.address} is not connected yet.")
        try:
            if not self.started:
                self.started = True
                super().__init__(**self._options())
        except BaseException:
            self.started = False
            raise
        finally:
            self.starting.release()

    def _options(self) -> dict[str, Any]:
        address = self.breaker.address
        options = impatient() | {"retry": Retry(NoBackoff(), 1)} | dict(address.options)
        if options.pop("connection_class", None) is SSLConnection:
            options["ssl"] = True
        nodes = [ClusterNode(host, port) for host, port in address.hosts]
        return options | {"startup_nodes": nodes}

    def _check(self, canary: str) -> None:
        self._start()
        super().execute_command("SET", canary, 1, "EX", 60)

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """As in redis-py, through the breaker."""
        with self.breaker:
            self._start()
            return super().execute_command(*args, **options)

    def mget(self, keys: Any, *args: Any) -> Any:
        """As of one server: the keys may be on several nodes."""
        with self.breaker:
            self._start()
            return self.mget_nonatomic(keys, *args)

    def pipeline(self, transaction: Any = None, shard_hint: Any = None) -> Any:
        """As in redis-py; not through the breaker when it is executed."""
        with self.breaker:
            self._start()
            return super().pipeline(transaction, shard_hint)


def make_client(address: Address, canary: str) -> Any:
    """Return a client. `canary`: a key that is written to see whether Redis can be used."""
    if address.cluster:
        return ClusterClient(address, canary)
    options: dict[str, Any] = {
        **impatient(),
        "redis_connect_func": greet,
        "max_connections": MAX_CONNECTIONS,
        **address.options,
    }
    if address.service:
        tls = options.pop("connection_class", None) is SSLConnection
        pool: ConnectionPool = PrimaryPool(address.service, Sentinels(address), ssl=tls, **options)
    else:
        for host, port in address.hosts:
            options |= {"host": host, "port": port}
        pool = ConnectionPool(**options)
    asking = Redis(connection_pool=pool)
    breaker = Breaker(
        address,
        # A write: a full or a read-only server answers everything else.
        check=lambda: asking.set(canary, 1, ex=60),
        on_failure=lambda: pool.disconnect(inuse_connections=False),
    )
    return Client(pool, breaker)


_clients: dict[str, Any] = {}
_lock = threading.Lock()


def get_client(address: Address, canary: str) -> Any:
    """Return the Client, or ClusterClient, of this process for the address."""
    key = repr((address, address.options, address.sentinel_options))
    if key not in _clients:
        with _lock:
            if key not in _clients:
                _clients[key] = make_client(address, canary)
    return _clients[key]


def _renew_locks() -> None:
    """Replace locks that another thread may have held in a process that forked."""
    global _lock
    _lock = threading.Lock()
    for client in _clients.values():
        client.breaker._lock = threading.Lock()
        if isinstance(client, ClusterClient):
            client.starting, client.started = threading.RLock(), False
            continue
        pool = client.connection_pool
        pool._lock = threading.RLock()  # private: redis-py 8.1 takes it to renew the pool
        if isinstance(pool, PrimaryPool):
            pool.sentinel_manager.asking = threading.Lock()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_renew_locks)
