"""Redis for the whole process: addresses, one client per address, one breaker per client.

The cache, the channel layer, the health checks and the system checks use these to read addresses,
to hide passwords and to choose time-outs. See `outlast.cache` for the settings.
"""

from outlast.addresses import Address, HostPort, hide_secrets, read_address, split_secrets

from .breaker import COOLDOWN, Breaker, Unavailable
from .clients import Client, get_client, make_client
from .cluster import ClusterClient
from .connections import PrimaryPool, impatient

__all__ = [
    "COOLDOWN", "Address", "Breaker", "Client", "ClusterClient", "HostPort",
    "PrimaryPool", "Unavailable", "get_client", "hide_secrets", "impatient", "make_client",
    "read_address", "split_secrets",
]  # fmt: skip
