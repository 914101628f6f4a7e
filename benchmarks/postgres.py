"""A throw-away PostgreSQL on loopback, where the machine has one."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def binaries() -> Path | None:
    """Return the folder of PostgreSQL's programs, which Debian keeps off PATH."""
    on_path = (Path(part) for part in os.get_exec_path())
    for folder in [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True), *on_path]:
        if all((folder / name).exists() for name in ("initdb", "pg_isready", "postgres")):
            return folder
    return None


@contextmanager
def postgres() -> Iterator[str | None]:
    """Yield the URL of an empty server that ends with the block, or None without PostgreSQL."""
    folder = binaries()
    if folder is None:
        yield None
        return
    # It refuses to run as root; Debian's package makes a user for it.
    other = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    as_other = other if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory(prefix="postgres-") as home, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        if as_other:
            shutil.chown(home, "postgres")
        data = f"{home}/data"
        initdb = [*as_other, str(folder / "initdb"), "-D", data, "-U", "site", "-A", "trust"]
        subprocess.run(initdb, cwd=home, capture_output=True, check=True)
        probe.close()
        options = ["-D", data, "-p", str(port), "-k", home, "-h", "127.0.0.1", "-c", "fsync=off"]
        server = subprocess.Popen(
            [*as_other, str(folder / "postgres"), *options], cwd=home, stderr=subprocess.DEVNULL
        )
        try:
            while subprocess.call([str(folder / "pg_isready"), "-q", "-h", home, "-p", str(port)]):
                if server.poll() is not None:
                    raise RuntimeError("PostgreSQL did not start.")
                time.sleep(0.1)
            yield f"postgres://site@127.0.0.1:{port}/postgres"
        finally:
            server.terminate()
            server.wait()
