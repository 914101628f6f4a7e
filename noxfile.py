"""Every check of the template: `nox -l` lists them, `nox` runs the quick ones.

The Python that runs nox is the one that is tested: `uvx --python 3.13 nox`. Sessions share an
environment and run in parallel. The profiles come from `cookiecutter.json`.
"""

import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nox

nox.needs_version = ">=2026.8.10"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.download_python = "never"
nox.options.parallel = 4  # sessions wait for servers; `-j 1` shows what they print as it comes
# A process that a shell starts in the background ignores Ctrl-C; tests send it to servers.
signal.signal(signal.SIGINT, signal.default_int_handler)

HERE = Path(__file__).parent
SITE = HERE / "{{cookiecutter.project_slug}}"
LIBRARY = "vendor/django-outlast"
PROFILES = json.loads((HERE / "cookiecutter.json").read_text("utf-8"))["profile"]
REDIS = [name for name in PROFILES if name.startswith("redis")]
ENVIRONMENTS = Path(os.environ.get("NOX_ENVDIR", HERE / ".nox"))  # see CONTRIBUTING.md
nox.options.envdir = str(ENVIRONMENTS)
LIBRARY_TESTS = ["-c", "tests/outlast/pytest.ini", "tests/outlast", "-n", "3"]
TWO = (PROFILES[0], "redis")  # the profiles on which plain nox runs more
# What a profile decides, seen from outside.
BLACK_BOX = [f"proof/test_{name}.py" for name in ("profile", "live", "throttle", "hostile")]
SHARED: dict[str, Any] = {
    "venv_backend": "none",
    "requires": ["environment"],
    "allow_parallel": True,
}
FULL: dict[str, Any] = SHARED | {"default": False, "tags": ["full"]}
BY_NAME: dict[str, Any] = SHARED | {"default": False, "allow_parallel": False}
for name in [*os.environ]:  # variables of the shell must not influence the tests
    if name.startswith(("DJANGO_", "REDIS_", "PYTHONDONTWRITEBYTECODE")):
        del os.environ[name]


@nox.session(reuse_venv=True, default=False)
def environment(session: nox.Session, *options: str) -> None:
    """Install the packages that all other sessions use."""
    site, library, own = (
        nox.project.load_toml(folder / "pyproject.toml") for folder in (SITE, SITE / LIBRARY, HERE)
    )
    needed = [*nox.project.dependency_groups(site, "dev", "types")]
    needed += nox.project.dependency_groups(own, "test", "tools")
    for project in (site["project"], library["project"]):
        needed += sum(project["optional-dependencies"].values(), project["dependencies"])
    session.install(*(item for item in needed if "django-outlast" not in item), *options)


def run(session: nox.Session, *command: str, **options: Any) -> None:
    """Run a module, as `python -m` does, in the shared environment or the session's own."""
    shared = ENVIRONMENTS / "environment" / ("Scripts" if os.name == "nt" else "bin")
    python = str(Path(session.bin if session.bin_paths else shared) / "python")
    # A generated site runs its own copy of the library, seen from the site's folder.
    variables = {"PYTHONPATH": f"{LIBRARY}/src", **options.pop("variables", {})}
    session.run(python, "-m", *command, env=variables, external=True, **options)


@contextmanager
def workplace(session: nox.Session, profile: str = "") -> Iterator[dict[str, str]]:
    """Yield variables for a folder with a space in its name, or within it for a new site."""
    with tempfile.TemporaryDirectory(prefix="proof of ", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)  # other users may pass through, such as PostgreSQL's
        variables = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), folder)
        if not profile:
            yield variables
            return
        run(session, "cookiecutter", str(HERE), "--no-input", f"--output-dir={folder}",
            f"profile={profile}", "install=no", variables=variables)  # fmt: skip
        with session.chdir(Path(folder, "my-site")):
            yield variables | {"DJANGO_PROFILE": profile}


def test(session: nox.Session, *arguments: str, site: str = "") -> None:
    """Run pytest, for a profile in a new site of its own; list the tests that are skipped."""
    codes = [0, 5] if session.posargs else [0]  # 5: the arguments select no test
    with workplace(session, site) as env:
        run(session, "pytest", "-rs", "-Werror", "--timeout=300", f"--basetemp={env['TMPDIR']}/t",
            *arguments, *session.posargs, variables=env, success_codes=codes)  # fmt: skip


@nox.session(**SHARED, tags=["quick"])
def library(session: nox.Session) -> None:
    """Test django-outlast on a small stock project, with real servers."""
    test(session, *LIBRARY_TESTS, "--dist=loadfile", "-m", "not slow")


@nox.session(**SHARED, tags=["quick"])
def lint(session: nox.Session) -> None:
    """Check style, format, wording and types of template, library and site."""
    run(session, "tests.voice")
    run(session, "tests.sizes")
    run(session, "proof.mutations", "--check")
    run(session, "ruff", "check", "--no-cache", ".", SITE.name)
    run(session, "ruff", "format", "--no-cache", "--check", ".", SITE.name)
    types(session, sys.platform)


def types(session: nox.Session, system: str) -> None:
    """Check the types for one operating system."""
    mypy, cache = ("mypy", f"--platform={system}", "--cache-dir"), ENVIRONMENTS / "types" / system
    run(session, *mypy, f"{cache}-template")
    with session.chdir("tests/outlast"):  # the library alone, in a stock project
        source = str(SITE / LIBRARY / "src")
        variables = {"PYTHONPATH": f".{os.pathsep}{source}", "MYPYPATH": source}
        run(session, *mypy, f"{cache}-library", variables=variables)
    with workplace(session, PROFILES[0]) as variables:
        variables |= {"DJANGO_DEBUG": "1", "DJANGO_SECRET_KEY": "only-for-types"}
        run(session, *mypy, f"{cache}-site", variables=variables)


@nox.session(**SHARED, tags=["quick"])
def template(session: nox.Session) -> None:
    """Test the prompts, the hooks and the generated files."""
    test(session, "tests", "-m", "not slow")


@nox.session(**SHARED, tags=["quick"])
@nox.parametrize("name", PROFILES, ids=PROFILES)
def profile(session: nox.Session, name: str) -> None:
    """Log in to a new site over HTTPS; on two profiles, run the site's own tests as well."""
    wanted = "not slow" if name == PROFILES[0] else "not slow and not any_profile"
    files = BLACK_BOX if name in TWO else BLACK_BOX[:1]
    if name in TWO:
        test(session, "-m", wanted, site=name)
    test(session, *files, "-m", wanted, f"--profile={name}")


@nox.session(**FULL)
@nox.parametrize("name", PROFILES, ids=PROFILES)
def thorough(session: nox.Session, name: str) -> None:
    """Run the tests that plain nox leaves out, and the doctor while a service is broken."""
    left = "slow" if name in TWO else "not any_profile"
    if name != PROFILES[0]:
        test(session, site=name)
    test(session, *BLACK_BOX, "proof/test_doctor.py", "-m", left, f"--profile={name}")


@nox.session(**FULL)
def switch(session: nox.Session) -> None:
    """Run one generated site on every profile in turn: all sessions survive."""
    test(session, "proof/test_switch.py")


@nox.session(**FULL)
@nox.parametrize("name", TWO, ids=TWO)
def browser(session: nox.Session, name: str) -> None:
    """Use a generated site in Chromium: by keyboard, on a phone, in dark mode."""
    wanted = "" if name == "database" else "not any_profile"
    test(session, "proof/browser", "-m", wanted, f"--profile={name}")


@nox.session(**FULL)
@nox.parametrize("name", ["database", "file", *REDIS], ids=["database", "file", *REDIS])
def conformance(session: nox.Session, name: str) -> None:
    """Run the tests of Django, and of channels-redis, on the backends of the profile."""
    source = f"{SITE.name}/{LIBRARY}/src"
    run(session, "tests.conformance", name, variables={"PYTHONPATH": source})


@nox.session(**FULL)
def recipe(session: nox.Session) -> None:
    """Follow the recipes: install in other ways, update a site, add a profile."""
    test(session, "tests", "proof/test_runserver.py", "proof/test_sixth_profile.py", "-m", "slow")


@nox.session(**FULL)
def production(session: nox.Session) -> None:
    """Run compose.yaml, the Dockerfile, the drills, the documents and the library's slow tests."""
    test(session, "proof/test_compose.py", "proof/test_drills.py", "proof/test_docs.py")
    test(session, *LIBRARY_TESTS, "-m", "slow")
    for system in {"linux", "darwin", "win32"} - {sys.platform}:
        types(session, system)


@nox.session(**FULL | {"allow_parallel": False})
@nox.parametrize("name", [*REDIS, "database"], ids=[*REDIS, "database"])
def outage(session: nox.Session, name: str) -> None:
    """Stop, hang, empty and fail over Redis, or the database, while users work with a site."""
    of_database = ["outage/test_sqlite", "outage/test_postgres", "test_live"]
    names = of_database if name == "database" else ["outage/test_outage"]
    option = "--postgres" if name == "database" else f"--profile={name}"
    test(session, *[f"proof/{name}.py" for name in names], option)


# Python 3.11 proves the lowest of Django 5.2, later ones that of Django 6.1.
LOWEST = ["--resolution=lowest-direct", *([] if sys.version_info < (3, 12) else ["django>=6.1"])]
RANGES = [nox.param(LOWEST, id="lowest"), nox.param([], id="newest")]


@nox.session(reuse_venv=True, default=False, tags=["ranges"])
@nox.parametrize("options", RANGES)
def ranges(session: nox.Session, options: list[str]) -> None:
    """Test library and site with the oldest and the newest allowed versions; needs uv."""
    environment(session, "--upgrade", *options)
    session.run("uv", "pip", "list", external=True)
    library(session)
    profile(session, "database")
    profile(session, "redis")


@nox.session(reuse_venv=True, default=False, tags=["main"])
def main(session: nox.Session) -> None:
    """Test library and site with the newest pre-releases of their dependencies."""
    ranges(session, ["--override=tests/main.txt"])


@nox.session(**BY_NAME, tags=["guests"])
def guests(session: nox.Session) -> None:
    """Add well-known packages to a site, one at a time, and write a table in docs/guests.md."""
    test(session, "proof/guests")


@nox.session(venv_backend="none", default=False)
def windows(session: nox.Session) -> None:
    """Make, test and use a site on a Windows Python under Wine; `-- tests template` runs more."""
    if not (hasattr(os, "geteuid") and os.geteuid() == 0 and Path("/etc/debian_version").exists()):
        session.skip("NOT PROVED HERE: Windows (needs Debian or Ubuntu, as root)")
    session.run("bash", "proof/windows/windows.sh", str(HERE), str(ENVIRONMENTS / "windows"),
                "prepare", *(session.posargs or ["site"]), external=True)  # fmt: skip


@nox.session(**BY_NAME)
def bench(session: nox.Session) -> None:
    """Run benchmarks, all by default: `-- pages --rounds 5`; `-- --help` lists them."""
    run(session, "benchmarks", *session.posargs)


@nox.session(venv_backend="none", default=False)
def mutations(session: nox.Session) -> None:
    """Break features of the template on purpose; check that exactly their sessions fail."""
    session.run(sys.executable, "-m", "proof.mutations", *session.posargs, external=True)


@nox.session(**BY_NAME)
def mutants(session: nox.Session) -> None:
    """Change single operators and numbers; count what tests notice: `-- profiles --sample 0`."""
    run(session, "proof.mutants", *session.posargs)
