"""A channel layer within one process: it reaches all threads and event loops of that process.

Channels' in-memory layer does not wake a receiver in another event loop than the sender's, and
accepts messages that no layer between processes could carry. The other layers extend this one.
"""

import asyncio
import logging
import threading
import uuid
import weakref
from collections import defaultdict
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, wait
from contextlib import suppress
from functools import partial
from typing import Any

import msgpack
from channels.layers import BaseChannelLayer
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections, transaction

logger = logging.getLogger(__name__)

SEND_SECONDS = 0.3  # seconds that a sender waits at most
LIMIT = 8 * 1024 * 1024  # bytes of a packed message

Waiting = list["Future[None]"]  # sends to wait for, for at most SEND_SECONDS


class Sending(partial[Any]):
    """A coroutine function that `async_to_sync` calls in the thread of the synchronous code.

    Only that thread can see its transaction. `inspect` accepts a partial as a coroutine function.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.args[0](*args, **kwargs)


class Name(str):
    """The name of a new channel. The channel is closed when this object is deleted.

    Channels does not tell the layer that a consumer has ended. It cancels `receive`, but so does a
    consumer that only stops waiting for a while. A consumer keeps its name as long as it exists.
    """


class LocalLayer(BaseChannelLayer):
    """Channels and groups of one process. Both have addresses in the same namespace.

    `capacity` is the number of messages that wait for one consumer; more are dropped.
    `using` is the database whose transactions delay what synchronous code sends.
    """

    extensions = ["groups", "flush"]

    def __init__(self, capacity: int = 100, using: str = DEFAULT_DB_ALIAS) -> None:
        super().__init__(capacity=capacity)
        self.using = using
        self.serialize: Callable[[Any], bytes] = msgpack.packb
        self.deserialize: Callable[[bytes], Any] = partial(msgpack.unpackb, strict_map_key=False)
        self.last_error: BaseException | None = None  # for the doctor
        self._lock = threading.RLock()
        self._channels: dict[str, tuple[asyncio.AbstractEventLoop, asyncio.Queue[Any]]] = {}
        self._groups: defaultdict[str, set[str]] = defaultdict(set)

    @property
    def send(self) -> Any:
        """Send to a channel of any process; drop the message if that takes too long."""
        return Sending(_wait_for, self._send_to_channel)

    @property
    def group_send(self) -> Any:
        """Send to the members of a group in all processes, as `send` does."""
        return Sending(_wait_for, self._send_to_group)

    def _send_to_channel(self, channel: str, message: Any) -> Coroutine[Any, Any, None]:
        self.require_valid_channel_name(channel)
        return self._send(channel, message)

    def _send_to_group(self, group: str, message: Any) -> Coroutine[Any, Any, None]:
        return self._send(self._address(group), message)

    def _address(self, group: str) -> str:
        self.require_valid_group_name(group)
        return f"__group__{group}"

    def _send(self, address: str, message: Any) -> Coroutine[Any, Any, None]:
        data = self.serialize(message)
        if len(data) > LIMIT:
            raise ValueError(f"A message of {len(data)} bytes is too large: {LIMIT} are allowed.")
        if in_event_loop():
            return _wait_for(self._publish(address, data))

        def publish() -> None:
            wait(self._publish(address, data), SEND_SECONDS)

        if settings.configured and connections[self.using].in_atomic_block:
            transaction.on_commit(publish, using=self.using, robust=True)
        else:
            publish()
        return asyncio.sleep(0)

    def _publish(self, address: str, data: bytes) -> Waiting:
        """Send to all processes; return a future that is done once it is sent or dropped."""
        self._deliver(address, data)
        return []

    def _listen(self) -> Waiting:
        """Return futures that are done once messages of other processes arrive here."""
        return []

    def _deliver(self, address: str, data: bytes) -> None:
        """Put a message into the queues of its receivers, from any thread."""
        if len(data) > LIMIT:
            logger.warning("Channel layer: ignored a message of %d bytes: too large.", len(data))
            return
        receivers: defaultdict[Any, dict[str, Any]] = defaultdict(dict)
        with self._lock:
            for name in self._groups.get(address, (address,)):
                if name in self._channels:
                    loop, queue = self._channels[name]
                    receivers[loop][name] = queue
        for loop, queues in receivers.items():
            try:
                loop.call_soon_threadsafe(self._put, list(queues.values()), data)
            except RuntimeError:  # the loop was closed with its consumers
                for name in queues:
                    self._forget(name)

    def _put(self, queues: list[asyncio.Queue[Any]], data: bytes) -> None:
        """Put copies of the message into the queues; runs in their event loop."""
        for queue in queues:
            if queue.full():
                logger.info("Channel layer: dropped %d bytes for a slow consumer.", len(data))
                continue
            try:
                queue.put_nowait(self.deserialize(data))
            except Exception:
                logger.warning("Channel layer: ignored %d bytes: not a message.", len(data))

    def _forget(self, channel: str) -> None:
        with self._lock:
            self._channels.pop(channel, None)
            joined = [group for group, members in self._groups.items() if channel in members]
        for group in joined:
            self._leave(group, channel)

    def _leave(self, group: str, channel: str) -> None:
        with self._lock:
            self._groups[group].discard(channel)
            if not self._groups[group]:
                del self._groups[group]

    async def new_channel(self, prefix: str = "specific") -> str:
        """Return the name of a new channel of this process."""
        name = Name(f"{prefix}.{uuid.uuid4().hex}")
        loop, channel = asyncio.get_running_loop(), str(name)

        def close() -> None:  # in any thread
            with suppress(RuntimeError):  # the loop was closed before
                loop.call_soon_threadsafe(self._forget, channel)

        weakref.finalize(name, close).atexit = False
        await self._open(channel)
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

    async def receive(self, channel: str) -> Any:
        """Return the next message of a channel."""
        self.require_valid_channel_name(channel)
        is_new = channel not in self._channels
        try:
            return await (await self._open(str(channel))).get()
        except asyncio.CancelledError:
            if is_new:
                self._forget(channel)
            raise

    async def close_channel(self, channel: str) -> None:
        """Close a channel of this process."""
        self._forget(channel)

    async def group_add(self, group: str, channel: str) -> None:
        """Add a channel of this process to a group; messages sent from now on are received."""
        address = self._address(group)
        self.require_valid_channel_name(channel)
        with self._lock:
            if channel not in self._channels:
                raise RuntimeError(
                    f"The channel {channel!r} belongs to another process and cannot join a "
                    "group. Consumers join with self.channel_name."
                )
            self._groups[address].add(str(channel))
        await _wait_for(self._listen())

    async def group_discard(self, group: str, channel: str) -> None:
        """Remove a channel from a group; do nothing if it is not in it."""
        self._leave(self._address(group), channel)

    async def flush(self) -> None:
        """Delete all channels and groups."""
        for channel in list(self._channels):
            self._forget(channel)


def in_event_loop() -> bool:
    """Return whether an event loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def _wait_for(futures: Waiting) -> None:
    if futures:
        wrapped = [asyncio.wrap_future(future) for future in futures]
        await asyncio.wait(wrapped, timeout=SEND_SECONDS)
