"""How a process sends to others and receives from them, in two threads."""

import logging
import os
import random
import threading
import time
import weakref
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from .local import SEND_SECONDS, LocalLayer, Waiting

logger = logging.getLogger(__name__)

PING_INTERVAL = 1.0  # seconds between two questions to the server that messages come from
RETRY = 0.1  # seconds after a failure, and up to twice as many


class Link:
    """The threads of a process: one sends, the other one receives."""

    service: str  # its name in the log

    _outbox: deque[tuple[str, bytes]]
    _sending: Future[None] | None  # the last call of `_send`
    _since: float  # time.monotonic() at the first attempt to send without success
    _connection: Any  # that receives, if there is one
    _listener: threading.Thread | None
    _listening: Future[None]  # done while it receives
    _lost_at: float | None  # time.monotonic() at the start of an outage

    def __init__(self, layer: LocalLayer) -> None:
        self._layer: Any = weakref.proxy(layer)  # the threads do not keep it
        self._is_in_use = weakref.ref(layer)
        self._lock = threading.Lock()
        self._pid = 0
        self._notice_fork()

    # For each kind of server; these raise its errors.

    def publish(self, batch: list[tuple[str, bytes]]) -> None:
        """Send messages, each with its address."""

    def receive(self) -> None:
        """Set `_connection`, call `receives()`, and deliver messages while `is_open`."""

    def disconnect(self) -> None:
        """Let a thread that receives notice that it should end."""

    # Called by any thread; these raise no errors of the server.

    def send(self, address: str, data: bytes) -> Waiting:
        """Send a message, or drop it."""
        with self._lock:
            self._notice_fork()
            self._outbox.append((address, data))
            if not self._sending or self._sending.running() or self._sending.done():
                self._sending = self._sender.submit(self._send)
            # It is sent if the server answers, but do not wait: the last sender waited too long.
            is_away = 0 < self._since < time.monotonic() - SEND_SECONDS
            return [] if is_away else [self._sending]

    def listen(self) -> Waiting:
        """Return a future that is done once this process listens; none during an outage."""
        with self._lock:
            self._notice_fork()
            if not self._listener:
                thread = threading.Thread(target=self._listen, name="channels", daemon=True)
                self._listener = thread
                thread.start()
            return [] if self._lost_at or self._listening.done() else [self._listening]

    def close(self) -> None:
        """End the thread that receives, and its connection, until it is used again."""
        with self._lock:
            self._notice_fork()
            thread, self._listener, self._listening = self._listener, None, Future()
            self.disconnect()
            self._connection = None
        if thread:
            thread.join(PING_INTERVAL)

    def _notice_fork(self) -> None:
        """Begin in a forked process without what belongs to its parent."""
        if self._pid == os.getpid():
            return
        self._pid, self._sender = os.getpid(), ThreadPoolExecutor(1, "channels")
        self._outbox, self._listening, self._since = deque(), Future(), 0.0
        self._sending = self._connection = self._listener = self._lost_at = None

    # In the thread that sends.

    def _send(self) -> None:
        """Send all waiting messages."""
        batch = [self._outbox.popleft() for _ in range(len(self._outbox))]
        self._since = self._since or time.monotonic()
        try:
            self.publish(batch)
            self._since = 0.0
        except Exception as error:
            logger.debug("Channel layer: messages were dropped: %s", type(error).__name__)
            _pause()

    # In the thread that receives.

    @property
    def is_open(self) -> bool:
        """Whether the thread that asks should go on receiving."""
        return self._listener is threading.current_thread() and self._is_in_use() is not None

    def receives(self) -> None:
        """Record that messages arrive."""
        with self._lock:
            if self.is_open and not self._listening.done():
                self._listening.set_result(None)
        if self._lost_at is not None:
            seconds, self._lost_at = time.monotonic() - self._lost_at, None
            logger.warning("Channel layer: messages arrive again after %.1f s.", seconds)

    def _listen(self) -> None:
        while self.is_open:
            try:
                self.receive()
            except Exception as error:
                self._lost(error)
                _pause()
        with self._lock:
            if self._listener is threading.current_thread():  # the layer was deleted
                self._connection = None

    def _lost(self, error: Exception) -> None:
        with self._lock:
            if not self.is_open:
                return
            self._layer.last_error, self._connection = error, None
            if self._listening.done():
                self._listening = Future()
        if self._lost_at is None:
            self._lost_at = time.monotonic()
            logger.warning(
                "Channel layer: no messages from %s (%s). WebSockets stay open.",
                self.service, str(error).strip() or type(error).__name__,
            )  # fmt: skip


def _pause() -> None:
    """Let a server that has failed recover; many processes connect at different times."""
    time.sleep(RETRY * random.uniform(1, 2))  # noqa: S311
