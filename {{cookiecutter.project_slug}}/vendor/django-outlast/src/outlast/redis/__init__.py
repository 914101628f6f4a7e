"""Redis for the whole process: one client per address, one breaker per client.

The cache, the channel layer, the health checks and the system checks use these. See
`outlast.cache` for the settings.
"""

from .breaker import COOLDOWN, Breaker, Unavailable
from .clients import Client, get_client, make_client
from .cluster import ClusterClient
from .connections import PrimaryPool

__all__ = [
    "COOLDOWN", "Breaker", "Client", "ClusterClient", "PrimaryPool", "Unavailable", "get_client",
    "make_client",
]  # fmt: skip
