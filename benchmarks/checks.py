"""Plain `nox` in a copy of the template: with environments to make, and with those of before.

Only on demand, since it takes the processors for minutes.
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

from benchmarks.report import Figures, Options, Table, interleave, rows_of
from proof.site import TEMPLATE

TITLE = "checks (seconds)"
TIME_LIMIT = 1800  # seconds for one nox
LEFT_OUT = shutil.ignore_patterns(".git", ".nox", "__pycache__", ".*_cache")


def run(options: Options) -> Iterator[Table]:
    """Yield the time that a person waits for all ordinary checks."""
    with tempfile.TemporaryDirectory(prefix="checks ") as folder:
        copy = Path(folder) / "template"
        shutil.copytree(TEMPLATE, copy, ignore=LEFT_OUT)
        subjects = {"nox": partial(fresh_and_reused, copy)}
        yield Table(TITLE, rows_of(interleave(subjects, options.rounds, "checks")))


def fresh_and_reused(copy: Path, *arguments: str) -> Figures:
    """Return the seconds of nox without and with environments; RuntimeError if it fails."""
    shutil.rmtree(copy / ".nox", ignore_errors=True)
    return {when: seconds(copy, *arguments) for when in ("fresh", "reused")}


def seconds(copy: Path, *arguments: str) -> float:
    ours = ("NOX", "VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE")  # we run in a session of nox
    variables = {name: text for name, text in os.environ.items() if not name.startswith(ours)}
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "nox", *arguments],
        cwd=copy, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        check=False, timeout=TIME_LIMIT,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"nox failed:\n{(done.stdout + done.stderr)[-4000:]}")
    return time.monotonic() - began
