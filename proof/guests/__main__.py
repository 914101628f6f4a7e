"""Well-known packages in a generated site, each in an environment of its own.

`nox -s guests` does with each what its tutorial does, on the profiles `database` and `redis`, with
the settings of production and of development, and writes docs/guests.md. `-- NAME …` takes some
of them and only prints.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import traceback
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx2

from proof.conftest import servers
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

HEAD = """# Packages in a generated site

`nox -s guests` writes this page. Each package is added to a new site in an environment of its own,
as its documentation says, and used over HTTPS, with `DJANGO_DEBUG=0` and 1. No page may have
inline code that the Content-Security-Policy blocks. The pages of
{relaxed}
get a policy of their own, as in the site's `docs/packages.md`.

"""
TABLE = """
On {date} with Python {python}, Django {django}:

| package | version | what was done | {profiles} |
|---|---|---{line}|
{rows}
"""


def install(folder: Path, requirement: str) -> str:
    """Make an environment with what is installed here and the guest; return its Python."""
    uv, python = shutil.which("uv") or os.environ["UV"], str(folder / "bin" / "python")
    freeze = [uv, "pip", "freeze", "-q", f"--python={sys.executable}"]
    here = subprocess.run(freeze, capture_output=True, text=True, check=True).stdout
    subprocess.run([uv, "venv", "-q", f"--python={sys.executable}", str(folder)], check=True)
    add = [uv, "pip", "install", "-q", f"--python={python}", "-r", "-", requirement]
    subprocess.run(add, input=here, text=True, check=True)
    return python


def files_of(guest: dict[str, Any]) -> dict[str, str]:
    """Return what a guest adds to the files of a generated site."""
    files: dict[str, str] = guest.get("files", {})
    settings = guest["settings"]
    if relaxed := guest.get("relaxed"):
        files = files | {"config/policies.py": POLICY.format(relaxed)}
        settings += 'MIDDLEWARE += ["config.policies.guest_policy"]\n'
    return files | {"config/settings.py": settings, "config/urls.py": guest.get("urls", "")}


def try_out(name: str, folder: Path, python: str, profile: str) -> None:
    """Generate a site with the guest and visit it; raise AssertionError where it fails."""
    with ExitStack() as stack:
        variables = {"EMAIL_URL": f"filemail:///{folder / profile / 'my-site' / 'var' / 'mail'}"}
        if profile.startswith("redis"):
            variables |= stack.enter_context(servers(profile)).environment()
        added = files_of(GUESTS[name])
        site = Site(folder / profile, profile, variables, added=added, python=python)
        if "polls" in GUESTS[name]["settings"]:
            site.manage("makemigrations", "polls")
            site.manage("migrate")
        for debug in ("0", "1"):
            site.variables["DJANGO_DEBUG"] = debug
            connection = site.connection
            with site.running(), Visitor(**connection) as guest, Visitor(**connection) as member:
                assert member.log_in().status_code == 302
                getattr(visits, name.replace("-", "_"))(site, guest, member)
            log = (site.folder / "var" / "server.log").read_text("utf-8")
            assert "Traceback" not in log, log[log.index("Traceback") - 500 :][:4000]


def row(name: str, folder: Path) -> str:
    """Try a guest on each profile; return its line of the table, and print it."""
    python = install(folder / "env", GUESTS[name].get("requirement", name))
    code = f"from importlib.metadata import version; print(version('{name}'))"
    installed = subprocess.check_output([python, "-c", code], text=True).strip()
    cells = [name, installed, GUESTS[name]["done"]]
    for profile in PROFILES:
        try:
            try_out(name, folder, python, profile)
            cells.append("works")
        except (AssertionError, httpx2.HTTPError):
            traceback.print_exc()
            cells.append("fails")
    print(line := f"| {' | '.join(cells)} |", flush=True)
    return line


def main(names: list[str]) -> int:
    """Try the guests and write the table; return the number of those that fail."""
    with tempfile.TemporaryDirectory(prefix="guests-") as folder:
        rows = [row(name, Path(folder) / name) for name in names or GUESTS]
    if not names:
        write_page(rows)
    return sum("| fails |" in line for line in rows)


def write_page(rows: list[str]) -> None:
    """Write docs/guests.md; keep the tables of other versions of Django."""
    file = TEMPLATE / "docs" / "guests.md"
    django = ".".join(version("django").split(".")[:2])
    tables = dict(re.findall(r"^## Django (\S+)\n(.*?)(?=^## |\Z)", file.read_text(), re.S | re.M))
    tables[django] = TABLE.format(
        date=time.strftime("%Y-%m-%d"),
        python=".".join(map(str, sys.version_info[:2])),
        django=version("django"),
        profiles=" | ".join(f"`{name}`" for name in PROFILES),
        line="|---" * len(PROFILES),
        rows="\n".join(rows),
    )
    relaxed = ", ".join(name for name, guest in GUESTS.items() if "relaxed" in guest)
    text = "\n".join(
        f"## Django {name}\n{table.rstrip()}\n" for name, table in sorted(tables.items())
    )
    file.write_text(HEAD.format(relaxed=relaxed) + text, "utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
