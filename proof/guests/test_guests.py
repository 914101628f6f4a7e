"""Well-known packages in a generated site, each in an environment of its own.

`nox -s guests` does with each what its tutorial does, on two profiles, with the settings of
production and of development, and writes the table of docs/guests.md. `-- -k NAME`: only some.
"""

import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from proof.guests import visits
from proof.guests.visitor import Visitor
from proof.site import TEMPLATE, Site

PROFILES = ["database", "redis"]
GUESTS = tomllib.loads(Path(__file__).with_name("guests.toml").read_text("utf-8"))
# The middleware of the site's docs/packages.md.
POLICY = """
from django.conf import settings
from outlast.csp import CSP, csp_override
INLINE = [CSP.SELF, CSP.UNSAFE_INLINE]
RELAXED = {{**settings.SECURE_CSP, "script-src": INLINE, "style-src": INLINE}}
def guest_policy(get_response):
    relaxed = csp_override(RELAXED)(get_response)
    return lambda request: relaxed(request) if {} else get_response(request)
"""
TABLE = f"""
On {time.strftime("%Y-%m-%d")} with Python {sys.version_info[0]}.{sys.version_info[1]}, \
Django {version("django")}:

| package | version | what was done | {" | ".join(f"`{name}`" for name in PROFILES)} |
|---|---|---|{"---|" * len(PROFILES)}
"""


class Guest(NamedTuple):
    """A package that is installed for `python`, and its line of the table."""

    name: str
    python: str
    line: list[str]


@pytest.fixture(scope="module")
def lines() -> Iterator[list[list[str]]]:
    """The lines of the table, which is written if all packages and profiles are in it."""
    lines: list[list[str]] = []
    yield lines
    table = TABLE + "".join(f"| {' | '.join(line)} |\n" for line in lines)
    if [len(line) for line in lines] == [3 + len(PROFILES)] * len(GUESTS):
        page, django = TEMPLATE / "docs" / "guests.md", ".".join(version("django").split(".")[:2])
        section = re.compile(rf"(?<=^## Django {django}\n).*?(?=\n## |\Z)", re.S | re.M)
        text, number = section.subn(lambda _: table, page.read_text("utf-8"))
        assert number == 1, f"docs/guests.md needs the heading '## Django {django}'."
        page.write_text(text, "utf-8")


@pytest.fixture(scope="module", params=GUESTS)
def guest(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, lines: Any
) -> Guest:
    """Make an environment with what is installed here and a guest."""
    name = request.param
    folder = tmp_path_factory.mktemp(name)
    uv, python = shutil.which("uv") or os.environ["UV"], str(folder / "bin" / "python")
    freeze = [uv, "pip", "freeze", "-q", f"--python={sys.executable}"]
    here = subprocess.check_output(freeze, text=True)
    subprocess.run([uv, "venv", "-q", f"--python={sys.executable}", str(folder)], check=True)
    add = [uv, "pip", "install", "-q", f"--python={python}", "-r", "-"]
    add.append(GUESTS[name].get("requirement", name))
    subprocess.run(add, input=here, text=True, check=True)
    code = f"from importlib.metadata import version; print(version('{name}'))"
    installed = subprocess.check_output([python, "-c", code], text=True).strip()
    lines.append([name, installed, GUESTS[name]["done"]])
    return Guest(name, python, lines[-1])


def files_of(guest: dict[str, Any]) -> dict[str, str]:
    """Return what a guest adds to the files of a generated site."""
    files: dict[str, str] = guest.get("files", {})
    settings = guest["settings"]
    if relaxed := guest.get("relaxed"):
        files = files | {"config/policies.py": POLICY.format(relaxed)}
        settings += 'MIDDLEWARE += ["config.policies.guest_policy"]\n'
    return files | {"config/settings.py": settings, "config/urls.py": guest.get("urls", "")}


@pytest.mark.parametrize("profile", PROFILES)
def test_guest(guest: Guest, profile: str, start: Callable[[str], Any], tmp_path: Path) -> None:
    guest.line.append("fails")
    topology, added = start(profile), files_of(GUESTS[guest.name])
    variables = {"EMAIL_URL": f"filemail:///{tmp_path / 'my-site' / 'var' / 'mail'}"}
    variables |= topology.environment() if topology else {}
    site = Site(tmp_path, profile, variables, added=added, python=guest.python)
    if "polls" in added["config/settings.py"]:
        site.manage("makemigrations", "polls")
        site.manage("migrate")
    for debug in ("0", "1"):
        site.variables["DJANGO_DEBUG"] = debug
        connection = site.connection
        with site.running(), Visitor(**connection) as visitor, Visitor(**connection) as member:
            assert member.log_in().status_code == 302
            getattr(visits, guest.name.replace("-", "_"))(site, visitor, member)
        log = (site.folder / "var" / "server.log").read_text("utf-8")
        assert "Traceback" not in log, log[log.index("Traceback") - 500 :][:4000]
    guest.line[-1] = "works"
