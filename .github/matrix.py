"""Turn `nox --json -l -t quick full …` on standard input into the workflow's matrix.

Every session on every Python on Linux; the ordinary ones once more on macOS, and those
that need no server on Windows, for which there is no Redis or Valkey as a wheel. The full set, and
both ends of the ranges of versions, on the first Django and the last.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any

PYTHONS = ["3.11", "3.12", "3.13", "3.14", "3.15"]
NEWEST_WITH_ALL_WHEELS = "3.13"
PYTHONS_OF = {
    "full": ["3.11", NEWEST_WITH_ALL_WHEELS],  # Python 3.11 has no later Django than 5.2
    "ranges": ["3.11", NEWEST_WITH_ALL_WHEELS],
    "main": [NEWEST_WITH_ALL_WHEELS],
    "guests": ["3.11", NEWEST_WITH_ALL_WHEELS],
}


def jobs(sessions: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield a job for each session, Python and system that belong together."""
    for each in sessions:
        session, tags = each["session"], each["tags"]
        # Without a tag: an environment, which others require, or only run by name.
        if not tags:
            continue
        full = tags != ["quick"]  # needs Redis and more, or takes long: on one system
        for python in PYTHONS_OF.get(tags[0], PYTHONS):
            yield {"session": session, "python": python, "os": "ubuntu-latest", "full": full}
        if full:
            continue
        yield {"session": session, "python": NEWEST_WITH_ALL_WHEELS, "os": "macos-latest"}
        if "redis" not in session and session != "library":
            yield {"session": session, "python": NEWEST_WITH_ALL_WHEELS, "os": "windows-latest"}


if __name__ == "__main__":
    print(json.dumps({"include": list(jobs(json.load(sys.stdin)))}))
