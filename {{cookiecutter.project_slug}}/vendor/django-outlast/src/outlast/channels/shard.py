"""What a process sends to one Redis, or one cluster, and receives from it."""

import logging
import os
import threading
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from outlast.addresses import Address, read_address
from outlast.redis import ClusterClient, PrimaryPool, Unavailable, get_client

from .local import LocalLayer, Waiting

logger = logging.getLogger(__name__)

PING_INTERVAL = 1.0  # seconds between two pings, and two looks at the primary's address
RETRY = 0.1  # seconds between two attempts to connect


class Shard:
    """The two threads of a process: one sends, the other one receives.

    Messages, the cache and copies of sessions share a client, and with it the breaker, timeouts,
    Sentinels, and the nodes of a cluster.
    """

    def __init__(self, host: dict[str, Any], prefix: str, layer: LocalLayer) -> None:
        self._layer, self._channel = layer, f"{prefix}:"
        self._client = get_client(address_of(host), f"{prefix}:canary")
        self._outbox: deque[bytes] = deque()
        self._sending: Future[None] | None = None  # the last call of `_send`
        self._lock = threading.Lock()
        self._listener: threading.Thread | None = None
        self._pid = 0  # of the process that has these threads
        self._pubsub: Any = None  # the connection that receives, if there is one
        self._listening: Future[None] = Future()  # done while it receives
        self._lost_at: float | None = None  # time.monotonic() at the start of an outage
        self._turn = self._failed = 0  # of the nodes of a cluster
        self._node_works = False

    # Called by any thread; never raise errors of Redis.

    def send(self, address: str, data: bytes) -> Waiting:
        """Send a message, or drop it."""
        self._outbox.append(f"{address} ".encode() + data)
        with self._lock:
            self._notice_fork()
            if not self._sending or self._sending.running() or self._sending.done():
                self._sending = self._sender.submit(self._send)
            return [self._sending]

    def listen(self) -> Waiting:
        """Return a future that is done once this process listens; none during an outage."""
        with self._lock:
            self._notice_fork()
            if not (self._listener and self._listener.is_alive()):
                thread = threading.Thread(target=self._listen, name="channels", daemon=True)
                self._listener = thread
                thread.start()
            return [] if self._lost_at or self._listening.done() else [self._listening]

    def close(self) -> None:
        """End the thread that receives, until the next `listen`."""
        with self._lock:
            thread, self._listener, self._listening = self._listener, None, Future()
        if self._pubsub and (connection := self._pubsub.connection):
            connection.disconnect()  # the thread waits for it
        if thread and thread.is_alive():
            thread.join(PING_INTERVAL)

    def _notice_fork(self) -> None:
        """Start new threads in a forked process."""
        if self._pid != os.getpid():
            self._pid, self._sender = os.getpid(), ThreadPoolExecutor(1, "channels")
            self._sending, self._listener, self._listening = None, None, Future()

    # In the thread that sends.

    def _send(self) -> None:
        """Send all waiting messages."""
        batch = [self._outbox.popleft() for _ in range(len(self._outbox))]
        try:
            # The cache's breaker opens for one node, while others may forward messages.
            with nullcontext() if self._node_works else self._client.breaker:
                self._publish(batch)
        except (Unavailable, RedisError, OSError) as error:
            logger.debug("Channel layer: messages were dropped: %s", type(error).__name__)

    def _publish(self, batch: list[bytes]) -> None:
        nodes = self._nodes()
        pipeline = nodes[self._turn % len(nodes)].pipeline(transaction=False)
        for message in batch:
            pipeline.publish(self._channel, message)
        try:
            for reply in pipeline.execute(raise_on_error=False):
                if isinstance(reply, Exception):  # redis-py would add the message to its text
                    raise reply
            self._failed, self._node_works = 0, len(nodes) > 1
        except (RedisConnectionError, RedisTimeoutError):
            self._turn, self._failed = self._turn + 1, self._failed + 1
            if self._failed >= len(nodes):
                self._node_works = False
                raise

    def _nodes(self) -> list[Redis]:
        """Return the client, or those of the nodes of a cluster, which all forward messages.

        A process uses one at a time: messages through different nodes can overtake each other.
        """
        is_cluster = isinstance(self._client, ClusterClient)
        return self._client.clients() if is_cluster else [self._client]

    # In the thread that receives.

    def _listen(self) -> None:
        while self._listener is threading.current_thread():
            try:
                nodes = self._nodes()
                with nodes[self._turn % len(nodes)].pubsub() as pubsub:
                    pubsub.subscribe(self._channel)  # connects: not to be cut off
                    self._pubsub = pubsub
                    self._receive(pubsub, self._listening)
            except Exception as error:
                if self._listener is not threading.current_thread():
                    break
                self._layer.last_error = error
                self._turn += 1
                if self._lost_at is None:
                    self._lost_at = time.monotonic()
                    logger.warning(
                        "Channel layer: no messages from Redis (%s). WebSockets stay open.", error
                    )
            if self._listener is threading.current_thread():
                self._pubsub = None
                if self._listening.done():
                    self._listening = Future()
            time.sleep(RETRY)

    def _receive(self, pubsub: Any, listening: "Future[None]") -> None:
        """Deliver messages; raise if Redis is silent or no longer the primary."""
        ping_at, silent = 0.0, 0  # pings, not seconds: after being busy, it reads what has arrived
        while self._listener is threading.current_thread():
            if (now := time.monotonic()) >= ping_at:
                ping_at = now + PING_INTERVAL
                pubsub.ping()
                self._follow_primary(pubsub.connection)
            message = pubsub.get_message(timeout=max(ping_at - now, 0.1))
            silent = 0 if message else silent + 1
            if silent == 2:
                raise RedisError("no reply to two pings")
            if message and message["type"] == "pong":
                self._receives_again()
            elif message and message["type"] == "subscribe" and not listening.done():
                listening.set_result(None)
            elif message and message["type"] == "message":
                address, _, data = message["data"].partition(b" ")
                self._layer._deliver(address.decode(errors="replace"), data)

    def _follow_primary(self, connection: Any) -> None:
        pool = getattr(self._client, "connection_pool", None)
        if not isinstance(pool, PrimaryPool):
            return
        if pool.get_master_address() != (connection.host, connection.port):
            raise RedisError("Sentinel names another primary")

    def _receives_again(self) -> None:
        if self._lost_at is not None:
            seconds, self._lost_at = time.monotonic() - self._lost_at, None
            logger.warning("Channel layer: messages arrive again after %.1f s.", seconds)
            self._node_works = isinstance(self._client, ClusterClient)
            self._client.breaker.probe_soon()


def address_of(host: dict[str, Any]) -> Address:
    """Return the address of a host in channels-redis' setting."""
    options = dict(host)
    if "address" not in options:
        name = options.pop("master_name", None) or (
            f"{options.pop('host', 'localhost')}:{options.pop('port', 6379)}"
        )
        options["address"] = f"redis://{name}/{options.pop('db', 0)}"
    return read_address(options.pop("address"), options)
