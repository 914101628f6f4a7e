"""Real Redis or Valkey servers on loopback ports, for tests and for development.

    with Topology(replicas=2, sentinels=3) as topology:
        old = topology.primary
        old.kill()
        new = topology.wait_failover(old)

Needs redis-py and a server program, which `find_server` looks for; no Django.
"""

from .process import HOST, PortTakenError, Server, ServerError, find_server
from .topology import SERVICE, Topology

__all__ = ["HOST", "SERVICE", "PortTakenError", "Server", "ServerError", "Topology", "find_server"]
