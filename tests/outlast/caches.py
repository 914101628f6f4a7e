"""Caches of their own for the tests of the cache, and servers that are not Redis."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

from outlast import cache as cache_module
from outlast.cache import RedisCache
from outlast.redis import PrimaryPool, clients

from tests.servers import SERVICE, Server, Topology


def location(topology: Topology) -> tuple[str, dict[str, Any]]:
    """LOCATION and OPTIONS of a cache on these servers, as in config/profiles.py."""
    if not topology.sentinels:
        return topology.environment()["REDIS_URL"], {}
    return f"redis://{SERVICE}/0", {
        "sentinels": [("127.0.0.1", sentinel.port) for sentinel in topology.sentinels],
        "sentinel_kwargs": {"password": topology.sentinel_password or None},
        "password": topology.password or None,
    }


def make_cache(topology: Topology, prefix: str = "site", **options: Any) -> RedisCache:
    """One more cache object, as each thread and each request gets one."""
    url, own = location(topology)
    return RedisCache(url, {"KEY_PREFIX": prefix, "OPTIONS": own | options})


def forget_clients() -> None:
    """Let the next cache make a client of its own."""
    clients._clients.clear()
    cache_module._clients.clear()


def make_cache_at(url: str) -> RedisCache:
    """A cache that has not seen the server at this address yet: the system gives a port twice."""
    forget_clients()
    return RedisCache(url, {"KEY_PREFIX": "site"})


def pool_of(cache: RedisCache) -> PrimaryPool:
    pool = cache.client.connection_pool
    assert isinstance(pool, PrimaryPool)
    return pool


def address_of(server: Server) -> tuple[str, int]:
    return ("127.0.0.1", server.port)


def asked_first(cache: RedisCache, servers: Topology) -> Server:
    first = pool_of(cache).sentinel_manager.sentinels[0]
    port = first.connection_pool.connection_kwargs["port"]
    return next(some for some in servers.sentinels if some.port == port)


@contextlib.contextmanager
def serving(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """The port of a server that has a thread for each connection."""

    def talk(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            serve(connection)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                threading.Thread(target=talk, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def answering(answer: bytes, greeting: bytes = b"") -> contextlib.AbstractContextManager[int]:
    """A server that sends `greeting`, and then `answer` to whatever is sent to it."""

    def serve(connection: socket.socket) -> None:
        connection.sendall(greeting)
        while connection.recv(65536):
            connection.sendall(answer)

    return serving(serve)
