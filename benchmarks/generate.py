"""From the command to the first login

"Migrated": with its packages and its database. "Offline": uv asks no package index.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.report import Figures, Table, interleave
from proof.site import TEMPLATE

LOG_IN = TEMPLATE / "proof" / "windows" / "log_in.py"


def run(rounds: int) -> Iterator[Table]:
    """Yield the table of whole runs, each in a temporary folder."""
    ways = ["uv, warm cache", "uv, offline, warm cache", "uv, empty cache"]
    ways = ["pip, empty cache", *(ways if shutil.which("uv") else [])]
    subjects = {way: partial(generate, way) for way in ways}
    yield Table("generate (seconds)", interleave(subjects, rounds, "generate"))


def generate(way: str) -> Figures:
    """Return the seconds until a site is migrated, and until the first login."""
    with tempfile.TemporaryDirectory(prefix="generate ") as folder:
        variables = {name: os.environ[name] for name in {*os.environ} - {"UV", "VIRTUAL_ENV"}}
        offline = str(int("offline" in way))
        variables |= {"COOKIECUTTER_DJANGO_PROFILES_STRICT": "1", "UV_OFFLINE": offline}
        if way.startswith("pip"):  # as where there is no uv
            parts = variables["PATH"].split(os.pathsep)
            parts = [part for part in parts if not shutil.which("uv", path=part)]
            variables["PATH"] = os.pathsep.join(parts)
        if way.endswith("empty cache"):
            variables |= {"PIP_CACHE_DIR": f"{folder}/cache", "UV_CACHE_DIR": f"{folder}/cache"}
        execute = partial(subprocess.run, env=variables, capture_output=True, check=True)
        start = time.monotonic()
        execute([sys.executable, "-m", "cookiecutter", TEMPLATE, "--no-input", "-o", folder])
        migrated = time.monotonic() - start
        site = Path(folder, "my-site")
        python = site / ".venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
        execute([python, LOG_IN], cwd=site)
        return {"migrated": migrated, "first login": time.monotonic() - start}
