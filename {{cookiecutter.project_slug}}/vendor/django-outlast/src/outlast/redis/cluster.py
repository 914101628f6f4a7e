"""redis-py's client of a Redis Cluster, behind a breaker."""

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from redis import Redis, exceptions
from redis.cluster import ClusterNode, RedisCluster
from redis.connection import SSLConnection

from outlast.addresses import Address

from .breaker import Breaker, Unavailable
from .connections import TIMEOUT, short_timeouts

CONNECT_SECONDS = 1.0  # to find the nodes and connect to them, once in the life of a process


class ClusterClient(RedisCluster):
    """redis-py's client of a cluster; each command goes through `breaker`.

    redis-py's connects in its constructor, which raises if the cluster is unavailable; this one
    connects at its first command. redis-py asks all nodes in turn for the slots; here a thread
    does so, and no caller waits for it longer than TIMEOUT, or CONNECT_SECONDS the first time.
    """

    def __init__(self, address: Address, canary: str):
        self.breaker = Breaker(address, partial(self._check, canary), lambda: None)
        self.guard = threading.Lock()
        self.started = False
        self._thread: threading.Thread | None = None
        self._begun = 0.0  # time.monotonic() at the start of that thread
        self._error: Exception | None = None

    def clients(self) -> list[Redis]:
        """Return a client of each node, in an order that differs between processes."""
        self._start()
        nodes = sorted(self.get_nodes(), key=lambda node: hash(node.name))
        return [self.get_redis_connection(node) for node in nodes]

    def _in_thread(self, work: Callable[[], None], seconds: float = TIMEOUT) -> None:
        """Do `work` in a thread, unless one is running; return this long after its start."""

        def run() -> None:
            try:
                work()
            except Exception as error:
                self._error = error

        with self.guard:
            if not (self._thread and self._thread.is_alive()):
                self._error, self._begun = None, time.monotonic()
                self._thread = threading.Thread(target=run, daemon=True)
                self._thread.start()
            thread = self._thread
        thread.join(max(0, self._begun + seconds - time.monotonic()))

    def _start(self) -> None:
        if self.started:
            return
        self._in_thread(self._connect, CONNECT_SECONDS)
        if self.started:
            return
        if self._thread and self._thread.is_alive() and not self.breaker.is_open:
            raise Unavailable(f"Redis at {self.breaker.address} is not connected yet.")
        error = self._error or "its nodes do not answer in time"
        raise exceptions.ConnectionError(str(error)) from self._error

    def _connect(self) -> None:
        address = self.breaker.address
        options = short_timeouts() | dict(address.options)
        if options.pop("connection_class", None) is SSLConnection:
            options["ssl"] = True
        nodes = [ClusterNode(host, port) for host, port in address.hosts]
        super().__init__(startup_nodes=nodes, **options)
        read = self.nodes_manager.initialize

        def initialize(*args: Any, **kwargs: Any) -> None:
            # After a failure the command is not repeated: its caller need not wait for the slots.
            seconds = 0 if "last_failed_node_name" in kwargs else TIMEOUT
            self._in_thread(partial(read, *args, **kwargs), seconds)

        self.nodes_manager.initialize = initialize  # type: ignore[method-assign]
        self.started = True

    def _check(self, canary: str) -> None:
        self._start()
        super().execute_command("SET", canary, 1, "EX", 60)

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Like redis-py's, through the breaker."""
        if threading.current_thread() is self._thread:  # redis-py's constructor
            return super().execute_command(*args, **options)
        with self.breaker:
            self._start()
            try:
                return super().execute_command(*args, **options)
            except (exceptions.ConnectionError, exceptions.TimeoutError) as error:
                self.breaker.excuse_large_value(error, args)
                raise

    def mget(self, keys: Any, *args: Any) -> Any:
        """Like that of one server, for keys on several nodes."""
        with self.breaker:
            self._start()
            return self.mget_nonatomic(keys, *args)

    def pipeline(self, transaction: Any = None, shard_hint: Any = None) -> Any:
        """Like redis-py's; it does not go through the breaker when it is executed."""
        with self.breaker:
            self._start()
            pipeline = super().pipeline(transaction, shard_hint)
        # redis-py repeats the commands of a node that failed, one by one: 0.25 s for each key.
        pipeline.parent_execute_command = self.execute_command
        return pipeline
