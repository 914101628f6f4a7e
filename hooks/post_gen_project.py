"""Make the new project ready to run: .env, .venv, packages, database; then say what to type.

cookiecutter runs this in the project's folder and deletes the project if it fails. So a step
that fails is told, together with the commands that finish the job, and the exit code is 0.

Variables of the environment:

- PROJECT_PYTHON: the Python to use, a version on PATH such as 3.13 or a full path; otherwise
  the one behind cookiecutter's own environment.
- COOKIECUTTER_DJANGO_PROFILES_INSTALL=0: only generate; not even .env is written. For
  `cruft update`, which generates twice in temporary folders and compares.
- COOKIECUTTER_DJANGO_PROFILES_STRICT=1: exit with 1 when a step fails. For nox.
"""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

# `tojson` escapes every apostrophe: nothing in an answer can end this string.
ANSWERS = json.loads(r'''{{ cookiecutter | tojson }}''')  # fmt: skip

NEW = ".cookiecutter-new"  # left by the pre_gen hook where nothing was before
WINDOWS = os.name == "nt"
LIBRARY = "./vendor/django-outlast"
# The project's Python, as it is typed in the project's folder.
PYTHON = r".venv\Scripts\python" if WINDOWS else ".venv/bin/python"
# What the shell that runs cookiecutter has set for other programs, or for another site.
FOREIGN = (
    "DATABASE_URL", "DJANGO_", "EMAIL_URL", "PYTHONDONTWRITEBYTECODE", "PYTHONHOME",
    "PYTHONPATH", "PYTHONWARNINGS", "REDIS_", "SECURE_", "SESSION_", "SITE_URL", "VIRTUAL_ENV",
    "WEB_CONCURRENCY", "__PYVENV_LAUNCHER__",
)  # fmt: skip
# The secret is made in a process of its own: cookiecutter's replay file never sees it.
WRITE_ENV = (
    "import os, secrets; os.umask(0o077); "
    "print('# Settings of this copy of the site: never commit them; .env.example explains all.', "
    "'DJANGO_PROFILE={profile}', 'DJANGO_DEBUG=1', "
    "'DJANGO_SECRET_KEY=' + secrets.token_urlsafe(50), sep=chr(10), "
    "file=open('.env', 'x', newline=chr(10)))"
)


class Step(NamedTuple):
    """Something to do: what is said, the path that is there once it is done, the commands."""

    label: str
    makes: str
    commands: list[list[str]]


def base_python() -> str:
    """Return the Python for the project, never that of an environment made for cookiecutter."""
    if named := os.environ.get("PROJECT_PYTHON"):
        return shutil.which(named) or shutil.which("python" + named) or named
    return getattr(sys, "_base_executable", None) or sys.executable


def find_uv() -> str | None:
    """Return uv as it is typed here: by name, or by path where only `uvx` knows it."""
    return "uv" if shutil.which("uv") else shutil.which(os.environ.get("UV", "uv"))


def plan(profile: str, python: str, uv: str | None) -> list[Step]:
    """Return the steps from a generated folder to a site that runs."""
    if uv:
        create = [uv, "venv", "--python", python, ".venv"]
        install = [[uv, "pip", "install", "--python", ".venv", "-r", "pyproject.toml",
                    "--group", "dev"]]  # fmt: skip
    else:
        create = [python, "-m", "venv", ".venv"]
        pip = [PYTHON, "-m", "pip", "install"]
        # The first pip that knows --group; Python 3.11 to 3.13 bring an older one.
        install = [[*pip, "pip>=25.1"], [*pip, "-e", LIBRARY, ".", "--group", "dev"]]
    return [
        Step("Writing .env", ".env", [[python, "-c", WRITE_ENV.format(profile=profile)]]),
        Step("Creating .venv", ".venv", [create]),
        Step(f"Installing packages with {'uv' if uv else 'pip'}", ".venv", install),
        Step("Migrating the database", "var", [[PYTHON, "manage.py", "migrate"]]),
    ]


def environment() -> dict[str, str]:
    """Return the environment for the commands, without what is foreign to the project."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    return kept | {
        "PYTHONUTF8": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_COMPILE": "1",  # Python compiles what is used, when it is used; as uv does
        "PIP_USER": "0",  # would be refused inside .venv
        "UV_PYTHON_DOWNLOADS": "never",
    }


def run(commands: list[list[str]]) -> str:
    """Run the commands; return why one failed, the end of its own words, or an empty text."""
    for command in commands:
        try:
            done = subprocess.run(
                command,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
            )
        except OSError as error:
            return str(error)
        if done.returncode:
            last_lines = done.stdout.strip().splitlines()[-12:]
            return "\n".join(last_lines) or f"exit code {done.returncode}, without a word"
    return ""


def carry_out(steps: list[Step]) -> list[Step]:
    """Carry out the steps; return those that remain, the one that failed first."""
    existed = {step.makes for step in steps if os.path.lexists(step.makes)}
    for number, step in enumerate(steps):
        start = time.monotonic()
        try:
            print(f"{step.label} ".ljust(40, "."), end=" ", flush=True)
            if step.makes in existed:
                print(f"{step.makes} is left as it is")
                continue
            problem = run(step.commands)
        except KeyboardInterrupt:
            problem = "interrupted"
        seconds = f"{time.monotonic() - start:.1f} s"
        if problem:
            print(f"failed after {seconds}\n\n{problem}\n")
            return steps[number:]
        print(seconds)
    return []


def typed(command: list[str]) -> str:
    """Return the command as a person types it: in a POSIX shell, or in PowerShell."""
    words = []
    for word in command:
        if re.fullmatch(r"[\w+=:./\\-]+" if WINDOWS else r"[\w+=:./-]+", word):
            words.append(word)
        elif WINDOWS or not set(word) & set('"$`\\!'):
            words.append(f'"{word}"')
        else:
            words.append(shlex.quote(word))
    # PowerShell takes a quoted program for a text, unless & comes first.
    return ("& " if WINDOWS and words[0].startswith('"') else "") + " ".join(words)


def remove_leftovers() -> None:
    """Remove what .gitignore names: cookiecutter copies whatever lies in the template's folder."""
    for line in Path(".gitignore").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith(("#", "!")):
            for path in list(Path().rglob(line.strip("/"))):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)


def main() -> int:
    """Make the project ready and say what to type next; return the exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace", line_buffering=True)
    if Path(NEW).exists():
        Path(NEW).unlink()
        remove_leftovers()
    if os.environ.get("COOKIECUTTER_DJANGO_PROFILES_INSTALL") == "0":
        return 0

    slug, profile = ANSWERS["project_slug"], ANSWERS["profile"]
    steps = plan(profile, base_python(), find_uv())
    # cookiecutter 2.6 hands over the very word of its command line.
    wanted = str(ANSWERS["install"]).lower() not in ("0", "false", "f", "no", "n", "off")
    asked = steps if wanted else steps[:1]
    remaining = carry_out(asked)
    failed = remaining[0].label if remaining else ""
    todo = [command for step in remaining + steps[len(asked) :] for command in step.commands]

    if failed:
        print(f"\n{slug} is kept, although this failed: {failed}. When the cause is gone, finish:")
    else:
        if profile.startswith("redis"):
            print(
                "\nRedis is looked for on this machine; REDIS_ variables in .env can say where "
                "else (.env.example).\nNone at hand? In the folder below, in a terminal of its "
                f"own, this starts what is needed:\n\n    {PYTHON} manage.py devredis"
            )
        print(f"\n{slug} is there, with the profile {profile}. Next, make an account and log in:")
    todo += [[PYTHON, "manage.py", "createsuperuser"], [PYTHON, "manage.py", "runserver"]]
    print("", *("    " + typed(command) for command in [["cd", str(Path.cwd())], *todo]), sep="\n")
    return int(bool(failed) and os.environ.get("COOKIECUTTER_DJANGO_PROFILES_STRICT") == "1")


if __name__ == "__main__":
    sys.exit(main())
