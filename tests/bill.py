"""Tell what a site installs for each profile: packages, and their size on the disk.

    nox -s bill

Nothing is installed for it: the environment that sessions share holds all of that, and more.
"""

import tomllib
from collections.abc import Iterable
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

TEMPLATE = Path(__file__).parent.parent
SITE = TEMPLATE / "{{cookiecutter.project_slug}}"
# Profiles, and the extra of the site's pyproject.toml that they need, if they need one.
PROFILES = {("database", "file", "dummy"): "", ("redis", "redis-sentinel"): "redis"}
# What else can be installed, by the extra, or the dependency group, that holds it.
BESIDE = {"PostgreSQL": "postgres", "metrics": "metrics", "development and tests": "dev"}
HEAD = ("| installed for | packages | MB | which |", "|---|---|---|---|")


def closure(lines: Iterable[str], extra: str, seen: set[tuple[str, str]]) -> set[str]:
    """Return the names of what the requirements, those of the extra too, bring along here.

    `seen` are the packages that have been looked at, each with an extra of it or none.
    """
    for each in map(Requirement, lines):
        if each.marker is None or each.marker.evaluate({"extra": extra}):
            for key in ((canonicalize_name(each.name), more) for more in ("", *each.extras)):
                if key not in seen:
                    seen.add(key)
                    closure(distribution(key[0]).requires or (), key[1], seen)
    return {name for name, _ in seen}


def requirements() -> dict[str, list[str]]:
    """Return the lines of the site's pyproject.toml by extra or group; those of all under ""."""
    site = tomllib.loads((SITE / "pyproject.toml").read_text("utf-8"))
    more: dict[str, list[str]] = site["project"]["optional-dependencies"]
    groups: dict[str, list[str]] = site["dependency-groups"]
    return more | groups | {"": site["project"]["dependencies"]}


def required() -> set[str]:
    """Return the names of what the site asks for itself."""
    lines = (line for lines in requirements().values() for line in lines)
    return {canonicalize_name(Requirement(line).name) for line in lines}


def packages(extra: str = "") -> set[str]:
    """Return what a site installs in production, with an extra or a group where one is named."""
    lines = requirements()
    return closure({*lines[""], *lines[extra]}, "", set())


def megabytes(names: Iterable[str]) -> float:
    """Return how much the packages take on the disk, without the bytecode that Python adds."""
    files = (file for name in names for file in distribution(name).files or ())
    return sum(Path(str(f.locate())).stat().st_size for f in files if f.suffix != ".pyc") / 1e6


def row(label: str, names: set[str], which: set[str], before: str = "") -> str:
    """Return a line of the table."""
    listed = before + ", ".join(sorted(which))
    return f"| {label} | {len(names)} | {megabytes(names):.1f} | {listed} |"


def rows() -> list[str]:
    """Return the lines of the README's table."""
    base = packages()
    lines = []
    for profiles, extra in PROFILES.items():
        label = ", ".join(f"`{profile}`" for profile in profiles)
        names = packages(extra)
        line = row(label, names, names - base, "these, ") if extra else row(label, names, names)
        lines.append(line)
    for label, extra in BESIDE.items():
        more = packages(extra) - base
        lines.append(row(f"{label}, beside", more, more))
    return lines


if __name__ == "__main__":
    print(*HEAD, *rows(), sep="\n")
