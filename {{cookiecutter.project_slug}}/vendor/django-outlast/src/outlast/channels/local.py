"""A channel layer within one process: it reaches all threads and event loops of that process.

Channels' in-memory layer wakes only receivers of the sender's own event loop, and accepts
messages that no layer between processes could carry.
"""

import asyncio
import logging
import threading
import uuid
from collections import defaultdict
from collections.abc import Coroutine, Iterable
from concurrent.futures import Future
from functools import partial
from typing import Any

import msgpack
from asgiref.sync import markcoroutinefunction
from channels.layers import BaseChannelLayer
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections, transaction

logger = logging.getLogger(__name__)

PATIENCE = 0.3  # seconds that a sender waits at most
LIMIT = 8 * 1024 * 1024  # bytes of a packed message

Queue = asyncio.Queue[Any]


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
        self._channels: dict[str, tuple[asyncio.AbstractEventLoop, Queue]] = {}
        self._groups: defaultdict[str, set[str]] = defaultdict(set)

    # Plain functions that return a coroutine: `async_to_sync` calls them in the thread of the
    # synchronous code, which alone knows its transaction.

    @markcoroutinefunction
    def send(self, channel: str, message: dict[str, Any]) -> Coroutine[Any, Any, None]:
        """Send to a channel, of any process; drop the message if that takes too long."""
        self.require_valid_channel_name(channel)
        return self._send("channel", channel, message)

    @markcoroutinefunction
    def group_send(self, group: str, message: dict[str, Any]) -> Coroutine[Any, Any, None]:
        """Send to the members of a group in all processes, as `send` does."""
        self.require_valid_group_name(group)
        return self._send("group", group, message)

    def _send(self, kind: str, name: str, message: Any) -> Coroutine[Any, Any, None]:
        data = check_size(msgpack.packb(message))
        if in_transaction(self.using):
            later = partial(self._publish_and_wait, kind, name, data)
            transaction.on_commit(later, using=self.using, robust=True)
            return asyncio.sleep(0)
        return self._publish_and_await(kind, name, data)

    def _publish_and_wait(self, kind: str, name: str, data: bytes) -> None:
        try:
            self._publish(kind, name, data).result(PATIENCE)
        except TimeoutError:
            self._gave_up()

    async def _publish_and_await(self, kind: str, name: str, data: bytes) -> None:
        future = self._publish(kind, name, data)
        if not future.done():
            await asyncio.wait([asyncio.wrap_future(future)], timeout=PATIENCE)
            if not future.done():
                self._gave_up()

    def _publish(self, kind: str, name: str, data: bytes) -> "Future[None]":
        """Send to all processes; return what is done once that is sent, or dropped."""
        self._deliver(kind, name, data)
        sent: Future[None] = Future()
        sent.set_result(None)
        return sent

    def _gave_up(self) -> None:
        """Take notice of a message whose sender could not wait for it."""

    def _deliver(self, kind: str, name: str, data: bytes) -> None:
        """Put a message into the queues that it is for; from any thread."""
        with self._lock:
            names = [name] if kind == "channel" else self._groups.get(name, ())
            queues = defaultdict(list)
            for channel in names:
                if channel in self._channels:
                    loop, queue = self._channels[channel]
                    queues[loop].append(queue)
        for loop, receivers in queues.items():
            try:
                loop.call_soon_threadsafe(_put, receivers, data)
            except RuntimeError:  # the loop was closed with its consumers
                self._forget_loop(loop)

    def _forget_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            gone = {name for name, (of, _) in self._channels.items() if of is loop}
            for name in gone:
                del self._channels[name]
            for group in [group for group, members in self._groups.items() if members & gone]:
                self._leave(group, gone)

    def _leave(self, group: str, channels: Iterable[str]) -> None:
        self._groups[group].difference_update(channels)
        if not self._groups[group]:
            del self._groups[group]

    async def new_channel(self, prefix: str = "specific") -> str:
        """Return the name of a new channel of this process."""
        name = f"{prefix}.{uuid.uuid4().hex}"
        self._open(name)
        await self._listening()
        return name

    def _open(self, channel: str) -> Queue:
        loop = asyncio.get_running_loop()
        with self._lock:
            of, queue = self._channels.get(channel, (None, None))
            if queue is None or of is not loop:
                queue = asyncio.Queue(self.capacity)
                self._channels[channel] = loop, queue
        return queue

    async def _listening(self) -> None:
        """Wait until messages of other processes arrive here, if that is soon."""

    async def receive(self, channel: str) -> Any:
        """Return the next message of a channel; the channel is closed if that is cancelled."""
        self.require_valid_channel_name(channel)
        queue = self._open(channel)
        try:
            await self._listening()
            return await queue.get()
        except asyncio.CancelledError:
            await self.close_channel(channel)
            raise

    async def close_channel(self, channel: str) -> None:
        """Close a channel of this process. Channels cancels `receive`, but may come too late."""
        with self._lock:
            self._channels.pop(channel, None)

    async def group_add(self, group: str, channel: str) -> None:
        """Add a channel of this process to a group."""
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        with self._lock:
            if channel not in self._channels:
                raise RuntimeError(
                    f"The channel {channel!r} is not of this process: only its own can join a "
                    "group. Consumers join with self.channel_name."
                )
            self._groups[group].add(channel)

    async def group_discard(self, group: str, channel: str) -> None:
        """Remove a channel from a group; do nothing if it is not in it."""
        self.require_valid_group_name(group)
        with self._lock:
            if group in self._groups:
                self._leave(group, [channel])

    async def flush(self) -> None:
        """Forget all channels and groups."""
        with self._lock:
            self._channels.clear()
            self._groups.clear()


def check_size(data: bytes) -> bytes:
    """Return a packed message; raise ValueError if it is larger than all layers can carry."""
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


def _put(queues: list[Queue], data: bytes) -> None:
    """Give each queue a copy of its own; runs in the event loop of the queues."""
    for queue in queues:
        if queue.full():
            logger.info("Channel layer: a consumer is too slow, %d bytes dropped.", len(data))
            continue
        try:
            message = msgpack.unpackb(data, strict_map_key=False)
        except Exception:
            logger.warning("Channel layer: ignored %d bytes that are no message.", len(data))
        else:
            queue.put_nowait(message)
