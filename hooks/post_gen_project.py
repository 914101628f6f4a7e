"""Write .env, install the packages and migrate the database; then print the next commands.

cookiecutter runs this in the project's folder and deletes the project if it fails. Therefore, if
a step fails, this prints the remaining commands and exits with 0.

Environment variables:
- PROJECT_PYTHON: the Python to use, a version such as 3.13 or a path.
- COOKIECUTTER_DJANGO_PROFILES_INSTALL=0: only generate, without .env, as updates need it.
- COOKIECUTTER_DJANGO_PROFILES_STRICT=1: exit with 1 when a step fails, as tests need it.
"""

from __future__ import annotations

import io
import json
import os
import re
import runpy
import secrets
import shlex
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

# `tojson` escapes apostrophes, so no answer can end this string.
ANSWERS = json.loads(r'''{{ cookiecutter | tojson }}''')  # fmt: skip

NEW = ".cookiecutter-new"  # left by the pre_gen hook in an empty folder
WINDOWS = os.name == "nt"
PYTHON = r".venv\Scripts\python.exe" if WINDOWS else ".venv/bin/python"
LIBRARY = r".\vendor\django-outlast" if WINDOWS else "./vendor/django-outlast"
# Variables that the shell may hold for other programs or other sites.
FOREIGN = (
    "DATABASE_", "DJANGO_", "EMAIL_URL", "PYTHONDONTWRITEBYTECODE", "PYTHONHOME", "PYTHONPATH",
    "PYTHONWARNINGS", "REDIS_", "SECURE_", "SESSION_", "SITE_", "UV_FROZEN", "UV_LOCKED",
    "UV_NO_SYNC", "UV_PROJECT", "VIRTUAL_ENV", "WEB_CONCURRENCY", "__PYVENV_LAUNCHER__",
)  # fmt: skip
# A label, the path that exists once the step is done, and the commands to run.
Step = tuple[str, str, list[list[str]]]


def find_python() -> list[str]:
    """Return the command of the project's Python, never the one of cookiecutter's environment."""
    named = os.environ.get("PROJECT_PYTHON")
    if not named:
        return [getattr(sys, "_base_executable", None) or sys.executable]
    found = shutil.which(named) or shutil.which("python" + named)
    return ["py", "-" + named] if not found and shutil.which("py.exe") else [found or named]


def find_uv() -> str | None:
    """Return the command uv, or its path if only `uvx` finds it."""
    return "uv" if shutil.which("uv") else shutil.which(os.environ.get("UV", "uv"))


def plan(python: list[str], uv: str | None) -> tuple[list[str], list[Step]]:
    """Return the command for manage.py, and the steps that install the site."""
    if uv:
        manage = [uv, "run", "manage.py"]
        sync = [uv, "sync", "--python", python[-1].lstrip("-")]  # uv finds "3.13" itself
        steps: list[Step] = [("Installing packages with uv", ".venv", [sync])]
    else:
        manage, pip = [PYTHON, "manage.py"], [PYTHON, "-m", "pip", "install"]
        create, upgrade = [*python, "-m", "venv", ".venv"], [*pip, "pip>=25.1"]  # knows --group
        if not os.getenv("PROJECT_PYTHON") and sys.version_info >= (3, 11) and find_spec("pip"):
            create.insert(-1, "--without-pip")  # ensurepip takes 4 s
            upgrade = [sys.executable, "-m", "pip", "--python", ".venv", *upgrade[3:]]
        install = [*pip, "-e", LIBRARY, ".", "--group", "dev"]
        steps = [("Creating .venv", ".venv", [create]),
                 ("Installing packages with pip", ".venv", [upgrade, install])]  # fmt: skip
    return manage, [*steps, ("Migrating the database", "var", [[*manage, "migrate"]])]


def write_env(profile: str) -> None:
    """Write .env, readable by its owner only, unless it exists."""
    if not os.path.lexists(".env"):
        Path(".env").touch(0o600)
        text = "# Settings of this copy of the site. Do not commit them; see .env.example.\n"
        text += f"DJANGO_PROFILE={profile}\nDJANGO_DEBUG=1\nSIGN_UP=1\n"
        text += f"DJANGO_SECRET_KEY={secrets.token_urlsafe(50)}\n"
        Path(".env").write_bytes(text.encode())


def profile_in_force() -> tuple[str, str]:
    """Return the active profile and where it is set: the shell takes precedence over .env."""
    if shell := os.environ.get("DJANGO_PROFILE"):
        return shell, "this shell"
    text = Path(".env").read_bytes().replace(b"\0", b"").decode("utf-8", "replace")  # or UTF-16
    found = re.findall(r"(?m)^[^\w#]*(?:export\s+)?DJANGO_PROFILE\s*=\s*[\"']?([\w-]+)", text)
    return ["unset", *found][-1], ".env"


def run(commands: list[list[str]]) -> str:
    """Run the commands; return "", or the last lines of output of the one that failed."""
    variables = {name: text for name, text in os.environ.items() if not name.startswith(FOREIGN)}
    variables |= {
        "PYTHONUTF8": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_COMPILE": "1",  # Python compiles modules when they are first used
        "PIP_USER": "0",  # refused inside .venv
        "UV_PYTHON_DOWNLOADS": "never",
    }
    for command in commands:
        try:
            done = subprocess.run(command, env=variables, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  encoding="utf-8", errors="replace")  # fmt: skip
        except OSError as error:
            return f"Cannot start {command[0]}: {error.strerror or error}"
        if done.returncode:
            last_lines = done.stdout.strip().splitlines()[-12:]
            return "\n".join(last_lines) or f"{command[0]}: exit code {done.returncode}, no output"
    return ""


def carry_out(steps: list[Step]) -> list[Step]:
    """Carry out the steps; return those that remain, starting with the one that failed."""
    existed = {makes for _, makes, _ in steps if os.path.lexists(makes)}
    for number, (label, makes, commands) in enumerate(steps):
        start = time.monotonic()
        try:
            print(f"{label} ".ljust(40, "."), end=" ", flush=True)
            if makes in existed:
                print(f"skipped, {makes} exists")
                continue
            problem = run(commands)
        except KeyboardInterrupt:
            problem = "interrupted"
        seconds = f"{time.monotonic() - start:.1f} s"
        if problem:
            print(f"failed after {seconds}\n\n{problem}\n")
            return steps[number:]
        print(seconds)
    return []


def typed(command: list[str]) -> str:
    """Return the command as typed in a POSIX shell, or in PowerShell."""
    if not WINDOWS:
        return shlex.join(command)
    plain, escapes = r"[\w+=:./\\-]+", str.maketrans({"`": "``", "$": "`$"})
    words = (w if re.fullmatch(plain, w) else f'"{w.translate(escapes)}"' for w in command)
    text = " ".join(words)
    # PowerShell treats a quoted program as a string, unless & precedes it.
    return f"& {text}" if text.startswith('"') else text


def remove_leftovers() -> None:
    """Remove what .gitignore names: cookiecutter copies everything in the template's folder."""
    for line in Path(".gitignore").read_text(encoding="utf-8").splitlines():
        for path in list(Path().rglob(line.strip("/"))) if re.match("[^#!]", line) else []:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def main() -> int:
    """Install the project and print the next commands; return the exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace", line_buffering=True)
    if Path(NEW).exists():
        Path(NEW).unlink()
        remove_leftovers()
    if (library := Path("vendor/django-outlast/src/outlast/manifest.py")).exists():
        runpy.run_path(str(library))["write"]()  # checksums, for `check`
    if os.environ.get("COOKIECUTTER_DJANGO_PROFILES_INSTALL") == "0":
        return 0
    slug = ANSWERS["project_slug"]
    write_env(ANSWERS["profile"])
    manage, steps = plan(find_python(), find_uv())
    # From the command line, cookiecutter 2.6 passes this answer as a text.
    wanted = str(ANSWERS["install"]).lower() not in ("0", "false", "f", "no", "n", "off")
    remaining = carry_out(steps) if wanted else steps
    failed = wanted and bool(remaining)
    profile, where = profile_in_force()
    if failed:
        print(f"{slug} is kept, but a step failed: {remaining[0][0]}. Fix the cause, then run:")
    else:
        if profile.startswith("redis"):
            start = f"run in a second terminal: {typed([*manage, 'devredis'])}"
            print(f"\nThe profile {profile} needs servers: set their address as in .env.example.\n"
                  f"For development, {'see docs/windows.md' if WINDOWS else start}")  # fmt: skip
        lock = Path("uv.lock").read_text("utf-8") if Path("uv.lock").exists() else ""
        if indexes := {*re.findall('registry = "(.+?)"', lock)} - {"https://pypi.org/simple"}:
            print(f"\nuv.lock refers to your package index: {', '.join(sorted(indexes))}")
        state = f"{'ready' if wanted else 'generated'}, with the profile {profile}"
        print(f"\n{slug} is {state} (from {where}). Next:")
    todo = [["cd", str(Path.cwd())], *(each for step in remaining for each in step[2])]
    todo += [[*manage, "createsuperuser"], [*manage, "runserver"]]
    print("", *("    " + typed(command) for command in todo), sep="\n")
    return int(failed and os.environ.get("COOKIECUTTER_DJANGO_PROFILES_STRICT") == "1")


if __name__ == "__main__":
    sys.exit(main())
