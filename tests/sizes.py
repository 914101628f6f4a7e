"""Count lines of Python against their goals; refuse files of more than 250 (`nox -s lint`)."""

import sys
from pathlib import PurePosixPath

from tests.voice import SITE, TEMPLATE, files

LONGEST = 250
# Goals in lines, with the folders and files that are counted.
GOALS: dict[str, tuple[int, list[str]]] = {
    "site": (
        1800,
        [
            f"{SITE}/{part}"
            for part in ("config", "accounts", "deploy", "conftest.py", "manage.py", "noxfile.py")
        ],
    ),
    "site's tests": (2000, [f"{SITE}/tests"]),
    "library": (3000, [f"{SITE}/vendor"]),
    "hooks": (300, ["hooks"]),
    "proof": (3200, ["proof"]),
    "benchmarks": (900, ["benchmarks"]),
    "noxfile": (250, ["noxfile.py"]),
}


def count() -> dict[str, int]:
    """Return the number of lines of each Python file that git knows."""
    paths = [name for name in files() if name.endswith(".py")]
    return {name: len((TEMPLATE / name).read_text("utf-8").splitlines()) for name in paths}


def is_in(name: str, places: list[str]) -> bool:
    return any(place in (name, *map(str, PurePosixPath(name).parents)) for place in places)


if __name__ == "__main__":
    lines = count()
    for group, (goal, places) in GOALS.items():
        total = sum(number for name, number in lines.items() if is_in(name, places))
        print(f"{group:14}{total:6,} of {goal:5,}{'  above' * (total > goal)}")
    long = [f"{name}: {number} lines" for name, number in lines.items() if number > LONGEST]
    print(*long, sep="\n")
    sys.exit(f"{len(long)} files of more than {LONGEST} lines." if long else 0)
