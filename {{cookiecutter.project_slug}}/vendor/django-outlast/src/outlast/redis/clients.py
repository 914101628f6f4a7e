"""One redis-py client for each address, behind one breaker."""

from typing import Any

from redis import Redis, exceptions
from redis.connection import ConnectionPool, SSLConnection

from outlast.addresses import Address

from .breaker import Breaker
from .cluster import ClusterClient
from .connections import PrimaryPool, Sentinels, log_in, short_timeouts

MAX_CONNECTIONS = 1000  # redis-py's 100 are too few where each request has its own thread


class Client(Redis):
    """redis-py's client; each command goes through `breaker`, but pipelines do not.

    Raises Unavailable for errors that mean an outage, and other errors of redis-py unchanged.
    """

    def __init__(self, pool: ConnectionPool, breaker: Breaker):
        super().__init__(connection_pool=pool)
        self.breaker = breaker

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Like redis-py's, through the breaker and without retries: it takes a fifth less time."""
        pool = self.connection_pool
        with self.breaker:
            try:
                connection = pool.get_connection()
                try:
                    connection.send_command(*args, **options)
                    return self.parse_response(connection, args[0], **options)
                finally:
                    pool.release(connection)
            except (exceptions.ConnectionError, exceptions.TimeoutError) as error:
                self.breaker.excuse_large_value(error, args)
                raise


def make_client(address: Address, canary: str) -> Any:
    """Return a client. `canary`: a key that is written to see whether Redis can be used."""
    if address.cluster:
        return ClusterClient(address, canary)
    options: dict[str, Any] = {
        **short_timeouts(),
        "redis_connect_func": log_in,
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


def get_client(address: Address, canary: str) -> Any:
    """Return the Client, or ClusterClient, of this process for the address."""
    key = repr((address, address.options, address.sentinel_options))
    if key not in _clients:
        _clients.setdefault(key, make_client(address, canary))  # which does not connect yet
    return _clients[key]
