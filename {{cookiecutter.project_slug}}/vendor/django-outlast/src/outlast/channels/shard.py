"""What one event loop sends to one Redis and receives from it."""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import redis.asyncio.connection as connections
from channels_redis import pubsub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from outlast.addresses import Address, HostPort, read_address
from outlast.redis import Client, ClusterClient, PrimaryPool, Unavailable, get_client

from .local import PATIENCE

if TYPE_CHECKING:
    from .redis import LoopLayer, PubSubLayer

logger = logging.getLogger(__name__)

BEAT = 1.0  # seconds between two questions: to Redis "alive?", to Sentinel "still the primary?"
RETRY = 0.1  # seconds between two attempts to connect


class Shard(pubsub.RedisSingleShardConnection):
    """What one event loop sends to one Redis and receives from it.

    It shares the breaker and the queries to the Sentinels with the cache.
    """

    _redis: Any  # redis-py's client, once there was need for it

    def __init__(self, host: dict[str, Any], layer: "LoopLayer") -> None:
        address = self._address = address_of(host)
        self._client = get_client(address, f"{layer.channel_layer.prefix}:canary")
        super().__init__(connection_options(address, self._client), layer)
        self._layer: PubSubLayer = layer.channel_layer
        self._prefix = self._layer.prefix
        self._outbox: list[tuple[str, bytes]] = []
        self._primary: Any = None  # to which messages are sent, with Sentinels
        # The channels to subscribe to, and whether Redis has confirmed them.
        self._wanted: dict[str, asyncio.Event] = {}
        self._lost_at: float | None = None  # time.monotonic() at the start of an outage

    def _on_wire(self, channel: str) -> str:
        """Pub/sub ignores database numbers: only the prefix separates sites."""
        return f"{self._prefix}:{channel}"

    async def publish(self, channel: str, message: bytes) -> None:
        """Send a message or drop it, within `PATIENCE` seconds, and never raise."""
        breaker, started = self._client.breaker, time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE):
                if breaker.is_open:
                    await asyncio.to_thread(breaker.__enter__)  # it may wait for Redis
                self._outbox.append((self._on_wire(channel), message))
                # The first to come here sends for all who wait.
                async with self._lock:
                    # One node of a cluster may be down while the others work.
                    with nullcontext() if self._address.cluster else breaker:
                        await self._send()
        except TimeoutError as error:
            # Our own event loop may have been busy; then Redis works.
            if time.monotonic() < started + 2 * PATIENCE and not self._address.cluster:
                breaker.record_failure(error)
            self._outbox.clear()
        except (Unavailable, RedisError, OSError) as error:
            logger.debug("Channel layer: a message was dropped: %s", type(error).__name__)
            self._outbox.clear()

    async def _send(self) -> None:
        batch, self._outbox = self._outbox, []
        if not batch:
            return
        self._ensure_redis()
        await self._follow_primary()
        pipeline = self._redis.pipeline(transaction=False)
        for channel, message in batch:
            pipeline.publish(channel, message)
        for reply in await pipeline.execute(raise_on_error=False):
            if isinstance(reply, Exception):  # redis-py would raise it with the message in it
                raise reply

    async def _follow_primary(self) -> Any:
        """Return the primary, None without Sentinels, and leave the former one if it changed."""
        pool = getattr(self._client, "connection_pool", None)
        if not isinstance(pool, PrimaryPool):
            return None
        if pool.sentinel_manager.is_due:
            await asyncio.to_thread(pool.refresh)
        if pool.sentinel_manager.primary != self._primary:
            self._primary = pool.sentinel_manager.primary
            await self._redis.connection_pool.disconnect(inuse_connections=False)
        return self._primary

    async def subscribe(self, channel: str) -> None:
        """Subscribe to a channel, now or as soon as Redis is back; never raise."""
        confirmed = self._wanted.setdefault(channel, asyncio.Event())
        self._ensure_receiver()
        if not confirmed.is_set():
            await self._tell("subscribe", channel)
            if self._lost_at is None:
                with suppress(TimeoutError):
                    await asyncio.wait_for(confirmed.wait(), PATIENCE)

    async def unsubscribe(self, channel: str) -> None:
        """Unsubscribe from a channel, even if Redis is unavailable; never raise."""
        if self._wanted.pop(channel, None):
            await self._tell("unsubscribe", channel)

    async def _tell(self, command: str, channel: str) -> None:
        if self._pubsub and self._pubsub.connection:
            with suppress(RedisError, OSError):  # the receiving task sees to it
                async with asyncio.timeout(PATIENCE):
                    await getattr(self._pubsub, command)(self._on_wire(channel))

    async def _do_receiving(self) -> None:
        while True:
            try:
                self._ensure_redis()
                async with self._redis.pubsub() as pubsub:
                    # The empty name: so that there is a connection to watch in any case.
                    await pubsub.subscribe(*map(self._on_wire, ["", *self._wanted]))
                    self._pubsub = pubsub
                    await self._receive_until_lost(pubsub)
            except Exception as error:
                self._layer.last_error = error
                if self._lost_at is None:
                    self._lost_at = time.monotonic()
                    logger.warning(
                        "Channel layer: no messages from Redis (%s). WebSockets stay open.", error
                    )
            finally:
                self._pubsub = None
                for confirmed in self._wanted.values():
                    confirmed.clear()
            await asyncio.sleep(RETRY)

    async def _receive_until_lost(self, pubsub: Any) -> None:
        """Deliver messages; raise if Redis is silent or no longer the primary."""
        clock = asyncio.get_running_loop().time
        beat, silent = clock(), 0  # in beats: a blocked event loop reads what came meanwhile
        while silent < 2:
            if clock() >= beat:
                beat = clock() + BEAT
                await pubsub.ping()
                primary = await self._follow_primary()
                if primary and primary != (pubsub.connection.host, pubsub.connection.port):
                    raise RedisError("Sentinel names another primary")
            message = await pubsub.get_message(timeout=max(beat - clock(), 0.001))
            silent = 0 if message else silent + 1
            if message and message["type"] == "pong":
                self._hears_again()
            elif message:
                name = message["channel"].decode().removeprefix(self._on_wire(""))
                if message["type"] == "message":
                    self._receive_message({"channel": name, "data": message["data"]})
                elif message["type"] == "subscribe" and name in self._wanted:
                    self._wanted[name].set()
        raise RedisError("no answer to two questions in a row")

    def _hears_again(self) -> None:
        if self._lost_at is not None:
            seconds, self._lost_at = time.monotonic() - self._lost_at, None
            logger.warning("Channel layer: messages arrive again after %.1f s.", seconds)
            self._client.breaker.probe_soon()

    async def flush(self) -> None:
        """Forget and close everything; never raise: event loops call this when they close."""
        self._wanted.clear()
        with suppress(Exception):
            async with asyncio.timeout(PATIENCE):
                await super().flush()


def address_of(host: dict[str, Any]) -> Address:
    """Return the address of a host in channels-redis' setting."""
    options = dict(host)
    if "address" not in options:
        name = options.pop("master_name", None) or (
            f"{options.pop('host', 'localhost')}:{options.pop('port', 6379)}"
        )
        options["address"] = f"redis://{name}/{options.pop('db', 0)}"
    return read_address(options.pop("address"), options)


def connection_options(address: Address, client: Client) -> dict[str, Any]:
    """Return redis-py's connection arguments: short time-outs, and no retries."""
    options = {
        "socket_timeout": PATIENCE,
        "socket_connect_timeout": PATIENCE,
        "retry": Retry(NoBackoff(), 0),
        # Two questions less for each new connection, whose answers are not needed.
        "protocol": 2,
        "driver_info": None,
        **address.options,
    }
    kind = getattr(options.pop("connection_class", None), "__name__", "Connection")
    if address.service or address.cluster:
        found = FoundSSLConnection if address.tls else FoundConnection
        return options | {"connection_class": found, "find": partial(_places, client)}
    if address.hosts:
        options["host"], options["port"] = address.hosts[0]
    return options | {"connection_class": getattr(connections, kind)}


def _places(client: Client | ClusterClient) -> list[HostPort]:
    """Return the primary, or the nodes of a cluster: all nodes forward messages."""
    if isinstance(client, ClusterClient):
        # In one order per process: on their way through two nodes, messages overtake each other.
        return sorted(client.places, key=hash)
    pool: Any = client.connection_pool
    return [pool.get_master_address()]


class FoundConnection(connections.Connection):
    """Connects to one of the places that `find` names at that moment."""

    def __init__(self, *, find: Callable[[], list[HostPort]], **options: Any) -> None:
        super().__init__(**options)
        self._find = find

    async def _connect(self) -> None:
        former, places = (self.host, self.port), await asyncio.to_thread(self._find)
        places.sort(key=former.__eq__)  # last the one that it comes from, which may hang
        for self.host, self.port in places[:-1]:
            with suppress(OSError, RedisError):
                await super()._connect()
                return
        self.host, self.port = places[-1]
        await super()._connect()


class FoundSSLConnection(FoundConnection, connections.SSLConnection):
    """The same over TLS."""
