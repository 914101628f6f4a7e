"""`manage.py devredis`: start the Redis servers that the settings name, on this machine."""

import signal
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from outlast import health, servers
from outlast.health.errors import read_redis_address
from outlast.health.runner import State

LOCAL = {"127.0.0.1", "localhost"}


class Command(BaseCommand):
    help = "Starts the Redis or Valkey servers that the settings name, until Ctrl-C."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        if not health.uses_redis():
            self.stdout.write("The settings do not use Redis: there is nothing to start.")
            return
        found = health.readiness(health.DOCTOR_SECONDS)[-1]
        if found.state is not State.DOWN:
            self.stdout.write(f"Already running: {found.text}")
            return
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        wanted = wanted_topology()
        try:
            try:
                topology = servers.Topology(**wanted)
            except servers.PortTakenError:
                del wanted["ports"]
                topology = servers.Topology(**wanted)
            with topology:
                self.announce(topology, as_set="ports" in wanted)
                self.watch(topology)
        except servers.ServerError as error:
            raise CommandError(error) from error
        except KeyboardInterrupt:
            self.stdout.write("\nStopped.")

    def announce(self, topology: servers.Topology, *, as_set: bool) -> None:
        """List the servers, and the lines for .env unless the settings name them already."""
        self.stdout.write(f"Started {topology.command}:\n\n")
        for server in topology.servers + topology.sentinels:
            role = "primary" if server in topology.primaries else "replica"
            role = "Sentinel" if server in topology.sentinels else role
            self.stdout.write(f"  {role:<10}{servers.HOST}:{server.port}")
        if not as_set:
            self.stdout.write("\nThe settings name other servers. Put this into .env:\n\n")
            for name, value in topology.environment().items():
                self.stdout.write(f"  {name}={value}")
        self.stdout.write("\nAll data is lost when it stops. Stop it with Ctrl-C.")
        self.stdout.flush()

    def watch(self, topology: servers.Topology) -> None:
        """Report each server that ends; raise ServerError when no data server is left."""
        while True:
            for server in topology.servers + topology.sentinels:
                try:
                    server.check()
                except servers.ServerError as error:
                    server.kill()
                    if not any(server.running for server in topology.servers):
                        raise
                    self.stderr.write(f"{error}\nThe other servers are still running.")
            time.sleep(0.3)


def wanted_topology() -> dict[str, Any]:
    """Return the arguments of Topology for the servers that the settings name.

    There are no `ports` if the settings name another host, TLS, a socket or a user.
    """
    address, wanted = read_redis_address(), dict[str, Any]()
    if address.service:
        wanted = {"replicas": 2, "sentinels": len(address.hosts)}
    elif address.cluster:
        wanted = {"replicas": 1, "shards": 3}
    hosts = {host for host, _ in address.hosts}
    named_here = address.service in ("", servers.SERVICE) and hosts and hosts <= LOCAL
    if not named_here or address.tls or address.options.get("username"):
        return wanted
    wanted["ports"] = [port for _, port in address.hosts]
    wanted["password"] = address.options.get("password") or ""
    wanted["sentinel_password"] = address.sentinel_options.get("password") or ""
    return wanted
