"""A temporary PostgreSQL on a free loopback port, from the system's own package."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Self

from proof.site import free_port, wait_for

PATIENCE = 120  # seconds for any of its programs, on whatever machine


def find_postgres() -> Path | None:
    """Return the folder of PostgreSQL's programs, which Debian keeps off PATH; None without."""
    debian = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: -float(folder.parent.name)
    )
    for folder in [*debian, *map(Path, os.get_exec_path())]:
        if all((folder / name).exists() for name in ("initdb", "pg_ctl", "postgres")):
            return folder
    return None


class Postgres:
    """A server with one empty database; it ends with the `with` block.

    It refuses to run as root: there it runs as the user that Debian's package makes.
    """

    def __init__(self, connections: int = 100) -> None:
        self.connections = connections  # as many as PostgreSQL allows by default
        programs = find_postgres()
        if programs is None:
            raise FileNotFoundError("No PostgreSQL is on this machine: install its server.")
        self._programs = programs
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._as_other: list[str] = []
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            self._as_other = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
            shutil.chown(self.folder, "postgres", "postgres")
        self.port = free_port()
        self._run("initdb", "-D", "data", "-U", "site", "-A", "trust", "-E", "UTF8", "-N")
        self.start()

    def url(self, port: int = 0) -> str:
        """The value for DATABASE_URL; `port` is that of a proxy in between."""
        return f"postgres://site@127.0.0.1:{port or self.port}/postgres"

    def start(self) -> None:
        """Start the server, and wait until it accepts connections."""
        self.process = subprocess.Popen(
            [*self._as_other, str(self._programs / "postgres"), "-D", "data", "-k", ".",
             "-p", str(self.port), "-h", "127.0.0.1", "-c", "fsync=off",
             "-c", f"max_connections={self.connections}"],
            cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        is_ready = [str(self._programs / "pg_isready"), "-q", "-h", "127.0.0.1"]
        is_ready += ["-p", str(self.port)]
        wait_for(lambda: not subprocess.call(is_ready), f"PostgreSQL in {self.folder}")

    def stop(self) -> None:
        """Stop the server at once, as a crash does."""
        self.resume()
        self._run("pg_ctl", "stop", "-D", "data", "-m", "immediate")
        self.process.wait(PATIENCE)

    def pause(self) -> None:
        """Hang: connections are accepted, by the system, and nothing is answered."""
        if sys.platform != "win32":
            self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after a `pause`."""
        if sys.platform != "win32":
            self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        listed = ["pgrep", "-P", str(self.process.pid)]
        children = subprocess.run(listed, capture_output=True, text=True, check=False).stdout
        for pid in [self.process.pid, *map(int, children.split())]:
            with suppress(ProcessLookupError):  # one that served a connection, and has just ended
                os.kill(pid, number)

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [*self._as_other, str(self._programs / program), *arguments],
            cwd=self.folder, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            timeout=PATIENCE,
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.process.poll() is None:
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
