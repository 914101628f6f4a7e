"""A channel layer within one process: it reaches all threads and event loops of that process.

Channels' in-memory layer does not wake a receiver in another event loop than the sender's, and
accepts messages that no layer between processes could carry.
"""

import asyncio
import logging
import threading
import uuid
from collections import defaultdict
from collections.abc import Coroutine
from concurrent.futures import Future, wait
from typing import Any

import msgpack
from asgiref.sync import markcoroutinefunction
from channels.layers import BaseChannelLayer
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections, transaction

logger = logging.getLogger(__name__)

PATIENCE = 0.3  # seconds that a sender waits at most
LIMIT = 8 * 1024 * 1024  # bytes of a packed message

Waiting = list["Future[None]"]  # for what to wait, no longer than PATIENCE


class LocalLayer(BaseChannelLayer):
    """Channels and groups of one process.

    `capacity` is the number of messages that wait for one consumer; more are dropped.
    `using` is the database whose transactions delay what synchronous code sends.
    """

    extensions = ["groups", "flush"]

    def __init__(self, capacity: int = 100, using: str = DEFAULT_DB_ALIAS) -> None:
        super().__init__(capacity=capacity)
        self.using = using
        self._lock = threading.Lock()
        self._channels: dict[str, tuple[asyncio.AbstractEventLoop, asyncio.Queue[Any]]] = {}
        self._groups: defaultdict[str, set[str]] = defaultdict(set)

    # Plain functions that return a coroutine: `async_to_sync` calls them in the thread of the
    # synchronous code, which alone knows its transaction.

    @markcoroutinefunction
    def send(self, channel: str, message: dict[str, Any]) -> Coroutine[Any, Any, None]:
        """Send to a channel of any process; drop the message if that takes too long."""
        self.require_valid_channel_name(channel)
        return self._send("channel", channel, message)

    @markcoroutinefunction
    def group_send(self, group: str, message: dict[str, Any]) -> Coroutine[Any, Any, None]:
        """Send to the members of a group in all processes, as `send` does."""
        self.require_valid_group_name(group)
        return self._send("group", group, message)

    def _send(self, kind: str, name: str, message: Any) -> Coroutine[Any, Any, None]:
        data = check_size(msgpack.packb(message))
        if not in_transaction(self.using):
            return _wait_for(self._publish(kind, name, data))

        def publish() -> None:
            wait(self._publish(kind, name, data), PATIENCE)

        transaction.on_commit(publish, using=self.using, robust=True)
        return asyncio.sleep(0)

    def _publish(self, kind: str, name: str, data: bytes) -> Waiting:
        """Send to all processes; return a future that is done once it is sent or dropped."""
        self._deliver(kind, name, data)
        return []

    def _deliver(self, kind: str, name: str, data: bytes) -> None:
        """Put a message into the queues of its receivers, from any thread."""
        with self._lock:
            names = [name] if kind == "channel" else self._groups.get(name, ())
            receivers = {name: self._channels[name] for name in names if name in self._channels}
        for channel, (loop, queue) in receivers.items():
            try:
                loop.call_soon_threadsafe(_put, queue, data)
            except RuntimeError:  # the loop was closed with its consumers
                self._forget(channel)

    def _forget(self, channel: str) -> None:
        with self._lock:
            self._channels.pop(channel, None)
            for group in [g for g, members in self._groups.items() if channel in members]:
                self._leave(group, channel)

    def _leave(self, group: str, channel: str) -> None:
        self._groups[group].discard(channel)
        if not self._groups[group]:
            del self._groups[group]

    async def new_channel(self, prefix: str = "specific") -> str:
        """Return the name of a new channel of this process."""
        name = f"{prefix}.{uuid.uuid4().hex}"
        await self._open(name)
        return name

    async def _open(self, channel: str) -> asyncio.Queue[Any]:
        loop = asyncio.get_running_loop()
        with self._lock:
            of, queue = self._channels.get(channel, (None, None))
            if queue is None or of is not loop:
                queue = asyncio.Queue(self.capacity)
                self._channels[channel] = loop, queue
        await _wait_for(self._listen())
        return queue

    def _listen(self) -> Waiting:
        """Return a future that is done once messages of other processes arrive here."""
        return []

    async def receive(self, channel: str) -> Any:
        """Return the next message of a channel; the channel is closed if that is cancelled."""
        self.require_valid_channel_name(channel)
        try:
            return await (await self._open(channel)).get()
        except asyncio.CancelledError:
            await self.close_channel(channel)
            raise

    async def close_channel(self, channel: str) -> None:
        """Close a channel of this process. Channels cancels `receive`, but may come too late."""
        self._forget(channel)

    async def group_add(self, group: str, channel: str) -> None:
        """Add a channel of this process to a group; messages sent from now on are received."""
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        with self._lock:
            if channel not in self._channels:
                raise RuntimeError(
                    f"The channel {channel!r} belongs to another process and cannot join a "
                    "group. Consumers join with self.channel_name."
                )
            self._groups[group].add(channel)
        await _wait_for(self._listen())

    async def group_discard(self, group: str, channel: str) -> None:
        """Remove a channel from a group; do nothing if it is not in it."""
        self.require_valid_group_name(group)
        with self._lock:
            if group in self._groups:
                self._leave(group, channel)

    async def flush(self) -> None:
        """Forget all channels and groups."""
        with self._lock:
            self._channels.clear()
            self._groups.clear()


def check_size(data: bytes) -> bytes:
    """Return a packed message; raise ValueError if it is larger than LIMIT."""
    if len(data) > LIMIT:
        raise ValueError(f"A message of {len(data)} bytes is too large: {LIMIT} are allowed.")
    return data


def in_transaction(using: str) -> bool:
    """Return whether synchronous code calls this in a transaction of the database `using`."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return settings.configured and bool(connections[using].in_atomic_block)
    return False


async def _wait_for(futures: Waiting) -> None:
    if futures:
        await asyncio.wait([asyncio.wrap_future(future) for future in futures], timeout=PATIENCE)


def _put(queue: asyncio.Queue[Any], data: bytes) -> None:
    """Put a copy of the message into the queue; runs in the queue's event loop."""
    if queue.full():
        logger.info("Channel layer: a consumer is too slow, %d bytes dropped.", len(data))
        return
    try:
        queue.put_nowait(msgpack.unpackb(data, strict_map_key=False))
    except Exception:
        logger.warning("Channel layer: ignored %d bytes that are not a message.", len(data))
