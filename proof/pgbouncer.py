"""A temporary PgBouncer in transaction mode, from the system's own package."""

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Self

from proof.site import free_port, wait_for

CONFIG = """
[databases]
postgres = host=127.0.0.1 port={server} dbname=postgres user=site
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
auth_type = any
pool_mode = transaction
default_pool_size = 4
unix_socket_dir =
"""


def find_pgbouncer() -> str | None:
    """Return the program, which Debian keeps in a folder that is not on everybody's PATH."""
    return shutil.which("pgbouncer", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")


class PgBouncer:
    """A pooler for the database `postgres` of a server on a port; it ends with the block."""

    def __init__(self, server: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
        self.folder.chmod(0o755)
        self.port = free_port()
        config = self.folder / "pgbouncer.ini"
        config.write_text(CONFIG.format(server=server, port=self.port), "utf-8")
        command = [find_pgbouncer() or "pgbouncer", "-q", str(config)]
        if hasattr(os, "geteuid") and os.geteuid() == 0:  # it refuses to run as root
            command[1:1] = ["-u", "postgres"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def url(self) -> str:
        return f"postgres://site@127.0.0.1:{self.port}/postgres"

    def __enter__(self) -> Self:
        def accepts() -> bool:
            with socket.socket() as probe:
                return not probe.connect_ex(("127.0.0.1", self.port))

        wait_for(accepts, "PgBouncer", 10)
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.terminate()
        self.process.wait(10)
        shutil.rmtree(self.folder, ignore_errors=True)
