"""From the command to the first login

"Floor" is the minimum for any Django site: `startproject`, an environment with only Django, and
`migrate`.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx2

from benchmarks.report import Figures, Table, interleave
from proof.site import EMAIL, PASSWORD, TEMPLATE

STEP = re.compile(r"^(?P<label>\w[\w. ]+?) \.+ (?P<seconds>\d+\.\d) s$", re.M)
TIME_LIMIT = 300  # seconds for each step
BIN = "Scripts" if os.name == "nt" else "bin"


def run(rounds: int) -> Iterator[Table]:
    """Yield the table of whole runs; every one ends in a folder that is thrown away."""
    ways: dict[str, Callable[[], Figures]] = {"pip, empty cache": partial(by_template, "pip")}
    if shutil.which("uv"):
        ways["uv, warm cache"] = partial(by_template, "uv")
        ways["uv, empty cache"] = partial(by_template, "uv", cold=True)
        ways["floor: startproject, uv, warm cache"] = by_hand
    yield Table("generate (seconds)", interleave(ways, rounds, "generate"))


@contextmanager
def folder(installer: str, *, cold: bool) -> Iterator[tuple[Path, dict[str, str]]]:
    """Yield an empty folder, and the environment of a person who has just this installer."""
    with tempfile.TemporaryDirectory(prefix="generate ") as name:
        variables = dict(os.environ)
        for foreign in ("PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV"):
            variables.pop(foreign, None)
        if installer == "pip":
            parts = variables["PATH"].split(os.pathsep)
            parts = [part for part in parts if not shutil.which("uv", path=part)]
            variables["PATH"] = os.pathsep.join(parts)
            variables["PIP_CACHE_DIR"] = f"{name}/cache"
            variables.pop("UV", None)
        elif cold:
            variables["UV_CACHE_DIR"] = f"{name}/cache"
        yield Path(name), variables


def by_template(installer: str, *, cold: bool = False) -> Figures:
    """Return the seconds of each step of the hook, of the whole, and until the first login."""
    with folder(installer, cold=cold) as (home, variables):
        start = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "cookiecutter", str(TEMPLATE), "--no-input", "-o", str(home)],
            env=variables | {"COOKIECUTTER_DJANGO_PROFILES_STRICT": "1"},
            capture_output=True,
            text=True,
            check=True,
            timeout=TIME_LIMIT,
        )
        total = time.monotonic() - start
        steps = {match["label"]: float(match["seconds"]) for match in STEP.finditer(done.stdout)}
        site = home / "my-site"
        python = site / ".venv" / BIN / "python"
        first = total + seconds_to_login(site, python, variables)
        install = next(seconds for label, seconds in steps.items() if "packages" in label)
        return {
            "venv": steps.get("Creating .venv", 0.0),  # uv makes it with the packages
            "packages": install,
            "migrate": steps["Migrating the database"],
            "in all": total,
            "first login": first,
        }


def seconds_to_login(site: Path, python: Path, variables: dict[str, str]) -> float:
    """Create an account, start the site as the hook says, log in; return the seconds."""
    start = time.monotonic()
    subprocess.run(
        [python, "manage.py", "createsuperuser", "--noinput", f"--email={EMAIL}"],
        cwd=site,
        env=variables | {"DJANGO_SUPERUSER_PASSWORD": PASSWORD},
        capture_output=True,
        check=True,
        timeout=TIME_LIMIT,
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [python, "manage.py", "runserver", "--noreload", str(port)],
        cwd=site,
        env=variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while server.poll() is None and time.monotonic() - start < TIME_LIMIT:
            try:
                if logs_in(f"http://127.0.0.1:{port}"):
                    return time.monotonic() - start
            except httpx2.TransportError:
                time.sleep(0.02)
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
    raise RuntimeError("The generated site did not let anybody in.")


def logs_in(url: str) -> bool:
    """Whether the superuser can log in."""
    with httpx2.Client(base_url=url, trust_env=False) as client:
        page = client.get("/accounts/login/").text
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
        assert token, page
        form = {"csrfmiddlewaretoken": token[1], "username": EMAIL, "password": PASSWORD}
        return client.post("/accounts/login/", data=form).status_code == 302


def by_hand() -> Figures:
    """Return the seconds of the least that any Django site takes: the floor."""
    with folder("uv", cold=False) as (home, variables):
        python = home / ".venv" / BIN / "python"
        base = getattr(sys, "_base_executable", sys.executable)
        start = time.monotonic()
        for command in (
            ["uv", "venv", "-q", "--python", base, str(home / ".venv")],
            ["uv", "pip", "install", "-q", "--python", str(python), "django"],
            [str(python), "-m", "django", "startproject", "floor", str(home)],
            [str(python), "manage.py", "migrate"],
        ):
            subprocess.run(
                command,
                cwd=home, env=variables, capture_output=True, check=True, timeout=TIME_LIMIT,
            )  # fmt: skip
        return {"in all": time.monotonic() - start}
