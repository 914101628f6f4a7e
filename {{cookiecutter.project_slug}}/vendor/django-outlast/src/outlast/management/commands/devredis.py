"""`manage.py devredis`: what the active profile needs, started on this machine."""

import re
import signal
import subprocess
import sys
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from config.profiles import SERVERS
from outlast.advice import TroubleError, ways_to_start_redis

try:
    from outlast import servers
    from outlast.probes.redis import primary
except ModuleNotFoundError as error:
    if error.name != "redis":  # which only the profiles that get as far as its use install
        raise

LOCAL = {"127.0.0.1", "localhost"}


class Command(BaseCommand):
    """Starts what the profile needs: where the site looks for it if that is here and free."""

    help = "Starts the Redis or Valkey servers that the active profile needs, until Ctrl-C."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--check",
            action="store_true",
            help="start nothing: say whether the site's servers answer, or could be started here",
        )

    def handle(self, *, check: bool, **options: Any) -> None:
        profile: str = settings.PROFILE
        if profile not in SERVERS:
            self.stdout.write(f"The profile {profile} needs no server: there is nothing to start.")
            return
        try:
            answer, problem = primary().text, ""
        except TroubleError as trouble:
            answer, problem = "", trouble.sentence
        try:
            if check:
                self.report(profile, answer, problem)
            elif problem:
                self.run(**SERVERS[profile])
            else:
                self.stdout.write(f"There is {answer} already: nothing to start.")
        except servers.ServerError as error:
            raise CommandError(add_ways(str(error))) from error

    def report(self, profile: str, answer: str, problem: str) -> None:
        """Print what is there; ServerError if nothing answers and nothing could be started."""
        self.stdout.write(f"profile   {profile}")
        self.stdout.write(f"service   {answer or self.style.ERROR(problem)}")
        try:
            self.stdout.write(f"program   {describe_program(servers.find_server())}")
        except servers.ServerError:
            self.stdout.write(f"program   {self.style.WARNING('none on this machine')}")
            if problem:
                raise
        if problem:
            self.stdout.write("To start it: python manage.py devredis")

    def run(self, **needed: Any) -> None:
        """Run the servers until Ctrl-C or SIGTERM."""
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            try:
                topology, found = (
                    servers.Topology(**needed, **(place := find_place())),
                    bool(place),
                )
            except servers.PortTakenError:
                topology, found = servers.Topology(**needed), False
            with topology:
                self.announce(topology, found)
                self.watch(topology)
        except KeyboardInterrupt:
            self.stdout.write("\nStopped.")

    def announce(self, topology: "servers.Topology", found: bool) -> None:
        """Say what runs where, and what to write into .env unless the site finds it so."""
        self.stdout.write(f"Started with {describe_program(topology.command)}:\n\n")
        roles = ["primary"] + ["replica"] * (len(topology.servers) - 1)
        roles += ["Sentinel"] * len(topology.sentinels)
        for role, server in zip(roles, topology.servers + topology.sentinels, strict=True):
            self.stdout.write(f"  {role:<10}{servers.HOST}:{server.port}")
        if found:
            self.stdout.write("\nThe site is set to find it there: .env may stay as it is.")
        else:
            self.stdout.write("\nFor the site to find it, .env has to say:\n\n")
            for name, value in topology.environment().items():
                self.stdout.write(f"  {self.style.SUCCESS(f'{name}={value}')}")
        self.stdout.write("\nIt forgets everything when it stops. Stop it with Ctrl-C.")
        self.stdout.flush()

    def watch(self, topology: "servers.Topology") -> None:
        """Say which server has ended; raise ServerError when it was the last with data."""
        while True:
            for server in topology.servers + topology.sentinels:
                try:
                    server.check()
                except servers.ServerError as error:
                    server.kill()
                    if not any(server.running for server in topology.servers):
                        raise
                    self.stderr.write(f"{error}\nThe others go on.")
            time.sleep(0.3)


def describe_program(program: Path) -> str:
    """Name, version and path of a server program."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)  # noqa: S603
    version = re.match(r"(\w+) server v=(\S+)", said.stdout)
    return f"{version[1]} {version[2]} ({program})" if version else str(program)


def add_ways(sentence: str) -> str:
    """`sentence` with the ways to a server on Windows, for which no wheel brings one."""
    if sys.platform != "win32":
        return sentence
    *ways, go_without = ways_to_start_redis("127.0.0.1", 6379, "Windows")
    lines = ["The ways to one on Windows, the easiest first:", *(f"  {way}" for way in ways)]
    lines += ["Then in .env:", "  DJANGO_PROFILE=redis", "  REDIS_URL=redis://127.0.0.1:6379/0"]
    lines += ["Sentinels: run this command inside WSL 2, and put into .env what it prints."]
    return "\n".join([sentence, "", *lines, f"{go_without}."])


def find_place() -> dict[str, Any]:
    """The ports and passwords of Topology at which the site finds it; empty if it cannot."""
    cache = settings.CACHES["default"]
    url, options = urlsplit(cache["LOCATION"]), cache.get("OPTIONS", {})
    sentinels = options.get("sentinels")
    addresses = sentinels or [(url.hostname, url.port or 6379)]
    if (
        url.scheme != "redis"
        or any(host not in LOCAL for host, _ in addresses)
        or url.username
        or options.get("username")
        or (sentinels and url.hostname != servers.SERVICE)
    ):
        return {}
    ports = [port for _, port in addresses]
    if not sentinels:
        return {"ports": ports, "password": unquote(url.password or "")}
    return {
        "ports": ports,
        "password": options["password"] or "",
        "sentinel_password": options["sentinel_kwargs"]["password"] or "",
    }
