"""Turn `nox --json -l -t quick full` on standard input into the matrix of the workflow.

Every session on every Python on Linux; the ordinary ones once more on macOS, and those
that need no server on Windows, for which there is no Redis or Valkey as a wheel.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any

PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
NEWEST_WITH_ALL_WHEELS = "3.13"
NOT_ALONE = ("environment", "browser-environment", "mutations", "bench", "outage-stock")


def jobs(sessions: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield a job for each session, Python and system that belong together."""
    for each in sessions:
        session, full = each["session"], "full" in each["tags"]
        # Sessions of further Pythons exist where those are found; a job has one Python.
        if session.startswith(NOT_ALONE) or "-py3" in session:
            continue
        for python in [NEWEST_WITH_ALL_WHEELS] if full else PYTHONS:
            yield {"session": session, "python": python, "os": "ubuntu-latest", "full": full}
        if full:
            continue
        yield {"session": session, "python": NEWEST_WITH_ALL_WHEELS, "os": "macos-latest"}
        if "redis" not in session and session != "switch":
            yield {"session": session, "python": NEWEST_WITH_ALL_WHEELS, "os": "windows-latest"}


if __name__ == "__main__":
    print(json.dumps({"include": list(jobs(json.load(sys.stdin)))}))
