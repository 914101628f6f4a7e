"""Run the services of a generated site's compose.yaml by their own commands, without Docker."""

import os
import re
import socket
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import yaml
from redis import Redis

from proof.site import Site

SLUG = "my-site"


class Compose:
    """compose.yaml of a generated site, with free ports for its own and folders for /run."""

    def __init__(self, site: Site, folder: Path) -> None:
        self.site, self.data = site, folder / "data"
        self.data.mkdir()
        self.secrets = site.folder / "var" / "secrets"
        subprocess.run([sys.executable, site.folder / "deploy" / "make_secrets.py"], check=True)
        text = (site.folder / "compose.yaml").read_text("utf-8")
        wanted = sorted(set(re.findall(r"\b(?:700|2700)[1-6]\b", text)))
        self.ports = dict(zip(wanted, map(str, free_ports(len(wanted))), strict=True))
        self.services: dict[str, Any] = yaml.safe_load(self.here(text))["services"]
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def here(self, text: str) -> str:
        """Replace the ports, and the paths of containers."""
        text = re.sub(r"\b(?:700|2700)[1-6]\b", lambda m: self.ports[m[0]], text)
        text = text.replace("/run/secrets", str(self.secrets))
        return text.replace("/deploy/", f"{self.site.folder / 'deploy'}/")

    def start(self, name: str) -> None:
        """Start a service that is a Redis or a Sentinel by its own command."""
        command, environment = self.services[name]["command"], self.environment(name)
        with (self.data / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def environment(self, name: str) -> dict[str, str]:
        """Return the environment of a service, with the folders of its volumes."""
        folders = {"SECRETS": str(self.secrets), "DATA": str(self.data)}
        return {"PATH": os.environ["PATH"], **self.services[name]["environment"], **folders}

    def healthy(self, name: str) -> bool:
        """Run the service's health check."""
        kind, *command = self.services[name]["healthcheck"]["test"]
        assert kind == "CMD"
        return subprocess.run(command, env=self.environment(name), check=False).returncode == 0

    def kill(self, name: str) -> None:
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def secret(self, name: str) -> str:
        return (self.secrets / name).read_text("ascii")

    def redis(self, name: str, user: str | None, secret: str | None) -> Redis:
        port = int(self.services[name]["command"][3])
        return Redis("127.0.0.1", port, username=user, password=secret, decode_responses=True)

    def variables(self, name: str) -> dict[str, str]:
        """Return the environment of the service `name`, except what depends on this machine."""
        found = {key: str(value) for key, value in self.services[name]["environment"].items()}
        found = {key: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text) for key, text in found.items()}
        del found["DATABASE_URL_FILE"], found["SITE_URL"], found["FORWARDED_ALLOW_IPS"]
        if found.pop("REDIS_URL_FILE", ""):  # the secret contains the port
            found["REDIS_URL"] = self.here(self.secret("redis_url"))
        return found


def free_ports(count: int) -> list[int]:
    """Return free ports; nodes of a cluster need the ports that are higher by 10,000 as well."""
    with ExitStack() as stack:
        found: list[int] = []
        while len(found) < count:
            port, bus = (stack.enter_context(socket.socket()) for _ in range(2))
            port.bind(("127.0.0.1", 0))
            with suppress(OSError, OverflowError):
                bus.bind(("127.0.0.1", port.getsockname()[1] + 10_000))
                found.append(port.getsockname()[1])
        return found
