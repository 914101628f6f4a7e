"""The connections of one event loop to one Redis."""

import asyncio
import contextlib
import math
from typing import TYPE_CHECKING, Any

from channels_redis import pubsub
from redis.asyncio import Redis
from redis.asyncio.connection import Connection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from .outage import BEAT, Outage

if TYPE_CHECKING:
    from . import LoopLayer

PATIENCE = 0.3  # seconds that a sender or a new subscriber waits for Redis
SENTINEL_PATIENCE = 0.1  # less, so that one hung Sentinel leaves time to ask the next
RETRY = 0.1  # seconds between two attempts to connect


class Shard(pubsub.RedisSingleShardConnection):
    """All that one event loop has with one Redis: what it sends there and what it hears.

    Changes how the stock class sends, subscribes and receives. One task sends what has
    gathered; another owns the connection that receives, and takes a new one, asking
    Sentinel, when it is lost: redis-py's own retries redial a former primary (its #3874).
    """

    SENDING = "sending"  # the part of an outage that all event loops of a process share

    _redis: Redis

    def __init__(
        self, host: dict[str, Any], layer: "LoopLayer", prefix: str, outage: Outage
    ) -> None:
        super().__init__(with_patience(host), layer)
        self._prefix = prefix
        self._outage = outage
        self._outbox: list[tuple[str, bytes, asyncio.Future[None]]] = []
        self._send_task: asyncio.Task[None] | None = None
        self._asked_sentinel = -math.inf  # when, by the clock of the event loop
        # What somebody here listens to, and whether Redis has confirmed it.
        self._wanted: dict[str, asyncio.Event] = {}
        self._connection: Connection | None = None  # the one that receives

    def _on_wire(self, channel: str) -> str:
        """Pub/sub ignores database numbers: only the prefix keeps two sites apart."""
        return f"{self._prefix}:{channel}"

    async def publish(self, channel: str, message: bytes) -> None:
        """Send a message or drop it, within `PATIENCE` seconds, and never raise."""
        if not self._outage.may_try(self.SENDING):
            return
        done = asyncio.get_running_loop().create_future()
        self._outbox.append((self._on_wire(channel), message, done))
        if self._send_task is None or self._send_task.done():
            self._send_task = asyncio.create_task(self._send_outbox())
        await asyncio.wait([done], timeout=PATIENCE)
        if not done.done():
            # Said here too: an event loop that ends now takes the sending task with it.
            self._outage.begins(self.SENDING, TimeoutError())

    async def _send_outbox(self) -> None:
        """Send until nothing is left and, after a failure, until Redis takes messages again."""
        while self._outbox or self._outage.hits(self.SENDING):
            batch, self._outbox = self._outbox, []
            # An empty message to nobody takes the same way, and needs the same permission.
            messages = [item[:2] for item in batch] or [(self._on_wire(""), b"")]
            try:
                async with asyncio.timeout(PATIENCE):
                    await self._send(messages)
            except Exception as error:
                self._outage.begins(self.SENDING, error)
            else:
                self._outage.ends(self.SENDING)
            for _, _, done in batch:
                if not done.done():
                    done.set_result(None)
            if self._outage.hits(self.SENDING):
                await asyncio.sleep(RETRY)

    async def _send(self, messages: list[tuple[str, bytes]]) -> None:
        self._ensure_redis()
        if not self._receive_task:  # which asks Sentinel itself
            await self._primary(within=BEAT)
        pipeline = self._redis.pipeline(transaction=False)
        for channel, message in messages:
            pipeline.publish(channel, message)
        for reply in await pipeline.execute(raise_on_error=False):
            if isinstance(reply, Exception):  # redis-py would raise it with the message in it
                raise reply

    async def _primary(self, within: float = 0.0) -> tuple[str, int] | None:
        """Return where Sentinel said, at most `within` seconds ago, that the primary is.

        When it has moved, the pool drops its connections to the former one. None
        without Sentinel.
        """
        pool = self._redis.connection_pool
        if not isinstance(pool, SentinelConnectionPool):
            return None
        now = asyncio.get_running_loop().time()
        if now - self._asked_sentinel >= within:
            self._asked_sentinel = now
            with contextlib.suppress(RedisError, TimeoutError):  # Redis may be well all the same
                async with asyncio.timeout(2 * SENTINEL_PATIENCE):
                    await pool.get_master_address()
        return pool.master_address

    async def subscribe(self, channel: str) -> None:
        """Listen to a channel, from now on or as soon as Redis is back; never raises."""
        confirmed = self._wanted.setdefault(channel, asyncio.Event())
        if confirmed.is_set():
            return
        self._ensure_receiver()
        await self._command("SUBSCRIBE", channel)
        if not self._outage.hits(self):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(confirmed.wait(), PATIENCE)

    async def unsubscribe(self, channel: str) -> None:
        """Listen no longer, whether Redis is there to be told or not; never raises."""
        if self._wanted.pop(channel, None):
            await self._command("UNSUBSCRIBE", channel)

    async def _command(self, name: str, *channels: str) -> None:
        """Send a command on the receiving connection, whose task sees to all failures."""
        if self._connection and channels:
            with contextlib.suppress(Exception):
                words = map(self._on_wire, channels)
                await self._connection.send_command(name, *words, check_health=False)

    async def _do_receiving(self) -> None:
        while True:
            try:
                await self._receive_until_lost()
            except Exception as error:
                self._outage.begins(self, error)
            await asyncio.sleep(RETRY)

    async def _receive_until_lost(self) -> None:
        self._ensure_redis()
        pool = self._redis.connection_pool
        connection = await pool.get_connection()
        self._connection = connection
        try:
            await self._command("SUBSCRIBE", *self._wanted)
            await self._read(connection)
        finally:
            self._connection = None
            for confirmed in self._wanted.values():
                confirmed.clear()
            await connection.disconnect(nowait=True)
            await pool.release(connection)

    async def _read(self, connection: Connection) -> None:
        """Hand out what arrives; raise when Redis is silent, or is the primary no more."""
        clock = asyncio.get_running_loop().time
        beat = clock()
        silent = 0  # counted in beats, so that a blocked event loop gets to read what came
        while silent < 2:
            if clock() >= beat:
                beat = clock() + BEAT
                await connection.send_command("PING", check_health=False)
                primary = await self._primary()
                if primary and primary != (connection.host, connection.port):
                    raise RedisError(f"{connection.host}:{connection.port} is a replica now")
            response = await connection.read_response(
                disable_decoding=True,
                timeout=max(beat - clock(), 0),
                disconnect_on_error=False,
                push_request=True,
            )
            silent = silent + 1 if response is None else 0
            match response:
                case [b"message", channel, data]:
                    self._receive_message({"channel": self._from_wire(channel), "data": data})
                case [b"subscribe", channel, _]:
                    if confirmed := self._wanted.get(self._from_wire(channel)):
                        confirmed.set()
                case b"PONG" | [b"pong", _]:  # comes after the confirmation of all channels
                    self._outage.ends(self)
        raise RedisError("no answer to two questions in a row")

    def _from_wire(self, channel: bytes) -> str:
        return channel.decode().removeprefix(self._on_wire(""))

    async def flush(self) -> None:
        """Forget and close everything, Sentinel's connections too, and never raise.

        Runs when an event loop closes, so that a raised error would leave it open.
        """
        self._outage.forget(self)
        self._wanted.clear()
        redis, sending = self._redis, self._send_task
        with contextlib.suppress(Exception):
            async with asyncio.timeout(PATIENCE):
                if sending:
                    sending.cancel()
                    await asyncio.wait([sending])
                await super().flush()
                if redis and (manager := getattr(redis.connection_pool, "sentinel_manager", None)):
                    await asyncio.gather(*(each.aclose() for each in manager.sentinels))


def with_patience(host: dict[str, Any]) -> dict[str, Any]:
    """Return the connection options of a host with short time-outs and without retries."""

    def patient(seconds: float, options: dict[str, Any] | None) -> dict[str, Any]:
        return {
            "socket_timeout": seconds,
            "socket_connect_timeout": seconds,
            "retry": Retry(NoBackoff(), 0),
            # Two questions less for every new connection, whose answers nobody needs.
            "protocol": 2,
            "driver_info": None,
            **(options or {}),
        }

    host = patient(PATIENCE, host)
    if "sentinels" in host:
        host["sentinel_kwargs"] = patient(SENTINEL_PATIENCE, host.get("sentinel_kwargs"))
    return host
