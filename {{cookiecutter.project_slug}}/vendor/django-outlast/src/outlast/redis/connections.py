"""Connections of redis-py: short timeouts, and the primary that Sentinels name."""

import logging
import time
from copy import copy
from typing import Any, cast

from redis import Redis, exceptions
from redis.backoff import NoBackoff
from redis.connection import Connection, ConnectionPool
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool, SentinelManagedConnection

from outlast.addresses import Address, HostPort

logger = logging.getLogger(__name__)

TIMEOUT = 0.25  # seconds to connect, and for each reply
SENTINEL_INTERVAL = 1.0  # seconds between two questions to the Sentinels


def short_timeouts(seconds: float = TIMEOUT) -> dict[str, Any]:
    """Return the arguments of a connection with short timeouts and without retries.

    redis-py's defaults: 5 s, ten retries, and 10 s when the server announces maintenance.
    """
    return {
        "socket_timeout": seconds,
        "socket_connect_timeout": seconds,
        "retry": Retry(NoBackoff(), 0),
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        "driver_info": None,  # no CLIENT SETINFO, which deploy/users.conf does not allow
    }


def log_in(connection: Any) -> None:
    """Log in as redis-py does; raise ConnectionError for all errors.

    redis-py treats any reply to HELLO with credentials as success, and raises ResponseError,
    AttributeError and others for replies of other servers.
    """
    try:
        connection.on_connect()
        role = connection.handshake_metadata[b"role"]
    except (exceptions.ConnectionError, exceptions.TimeoutError):
        raise
    except exceptions.ResponseError as error:
        code = f"{error.status_code} " if error.status_code else ""
        raise exceptions.ConnectionError(f"{code}{error}") from error
    except Exception as error:
        what = "the server is not Redis, or is older than 6.0"
        raise exceptions.ConnectionError(what) from error
    if role != b"master" and isinstance(connection, SentinelManagedConnection):
        # Sentinels report a change with a delay.
        here = f"{connection.host}:{connection.port}"
        raise exceptions.ConnectionError(f"{here} is a replica now")


def sentinel_timeout(address: Address) -> float:
    """Return the seconds for one Sentinel: fewer if others can be asked."""
    return max(0.1, 0.3 / len(address.hosts))


class Sentinels(Sentinel):
    """redis-py's, which asks for each new connection; here one caller asks at intervals.

    Until then, and if no Sentinel answers, the primary that is known stays in use.
    """

    def __init__(self, address: Address):
        options = {**short_timeouts(sentinel_timeout(address)), **address.sentinel_options}
        super().__init__([])
        self.sentinels = [
            Redis(connection_pool=ConnectionPool(host=host, port=port, **options))
            for host, port in address.hosts
        ]
        self.primary: HostPort | None = None
        self.ask_at = 0.0  # time.monotonic()

    def discover_master(self, service_name: str) -> HostPort:
        """Return the primary; raise redis-py's ConnectionError if it is not known."""
        if self.primary and time.monotonic() < self.ask_at:
            return self.primary
        self.ask_at = time.monotonic() + SENTINEL_INTERVAL
        try:
            asked = copy(self)  # redis-py reorders the list, which other threads read
            asked.sentinels = self.sentinels.copy()
            found = cast("HostPort", Sentinel.discover_master(asked, service_name))
            self.sentinels = asked.sentinels
        except exceptions.RedisError:
            if not self.primary:
                raise
            return self.primary
        if self.primary and found != self.primary:
            new, old = (f"{host}:{port}" for host, port in (found, self.primary))
            logger.warning("Redis: the primary of %s is %s, was %s.", service_name, new, old)
        self.primary = found
        return found


class PrimaryPool(SentinelConnectionPool):
    """redis-py's, which asks when it connects; here also while it has open connections.

    Otherwise, it would write to the former primary for about 11 s after a planned failover, and
    those writes would be lost.
    """

    sentinel_manager: Sentinels

    def get_connection(self, *_args: Any, **_options: Any) -> Connection:
        """Return a connection to the primary, after closing those to a former one."""
        self.get_master_address()
        return super().get_connection()
