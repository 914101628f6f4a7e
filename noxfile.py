"""Every check of the template: `nox -l` reads as its documentation, `nox` runs it.

The Python that runs nox is the one that is tested: `uvx --python 3.13 nox`. Sessions share an
environment per purpose and run in parallel. The profiles come from `cookiecutter.json`.
"""

import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nox

nox.needs_version = ">=2026.8.10"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.download_python = "never"
# Sessions wait a lot, for servers. `-j 1` shows what they print as it comes.
nox.options.parallel = min((os.cpu_count() or 2) + 2, 4)

# A process that a shell starts in the background ignores Ctrl-C; tests send it to servers.
signal.signal(signal.SIGINT, signal.default_int_handler)

HERE = Path(__file__).parent
SITE = HERE / "{{cookiecutter.project_slug}}"
LIBRARY = "vendor/django-outlast"
BREAKABLE = ["redis", "redis-sentinel", "database"]
PROFILES = json.loads((HERE / "cookiecutter.json").read_text("utf-8"))["profile"]
CONFORMING = [name for name in PROFILES if name != "dummy"]
# Named by a variable where the checks run on more than one Python: see CONTRIBUTING.md.
ENVIRONMENTS = Path(os.environ.get("NOX_ENVDIR", HERE / ".nox"))
nox.options.envdir = str(ENVIRONMENTS)
# A test that hangs fails after so many seconds, and pytest-timeout prints every thread's stack.
LIMIT = "--timeout=300"
SYSTEMS = ("linux", "darwin", "win32")
LIBRARY_TESTS = ["-c", "tests/outlast/pytest.ini", "tests/outlast"]


# --- Environments, made once and shared ---


def requirements(*groups: str) -> list[str]:
    """Return what the site, the library, their tests and these groups of our own tools need."""
    site, library, own = (
        nox.project.load_toml(folder / "pyproject.toml") for folder in (SITE, SITE / LIBRARY, HERE)
    )
    used = [
        item
        for project in (site["project"], library["project"])
        for items in (project["dependencies"], *project["optional-dependencies"].values())
        for item in items
        if not item.startswith("django-outlast")
    ]
    return [
        *used,
        *nox.project.dependency_groups(site, "dev", "types"),
        *nox.project.dependency_groups(own, "test", *groups),
    ]


def shared(name: str, *groups: str, options: tuple[str, ...] = ()) -> str:
    """Define a session that makes the environment `name`; return its name."""

    @nox.session(name=name, reuse_venv=True, allow_parallel=True, default=False)
    def environment(session: nox.Session) -> None:
        if options and session.venv_backend != "uv":
            session.error("Only uv can choose the lowest versions: pip install uv")
        session.install(*requirements(*groups), *options)

    return name


TESTS = shared("environment")
BROWSER = shared("browser-environment", "browser")
BENCH = shared("bench-environment", "bench")
CONFORMANCE = shared("conformance-environment", "conformance")
MUTANTS = shared("mutants-environment", "mutants")
# Python 3.11 proves the lowest of Django 5.2, later ones that of Django 6.1.
OLDEST_DJANGO = () if sys.version_info < (3, 12) else ("django>=6.1",)
LOWEST = shared(
    "lowest-environment", options=("--upgrade", "--resolution=lowest-direct", *OLDEST_DJANGO)
)
NEWEST = shared("newest-environment", options=("--upgrade", "--resolution=highest"))
# What the site is built on, without our upper limits; the marker "0a0" allows pre-releases.
UPSTREAM = ("django", "channels", "channels-redis", "redis[hiredis]")


@nox.session(name="main-environment", reuse_venv=True, default=False)
def main_environment(session: nox.Session) -> None:
    if session.venv_backend != "uv":
        session.error("Only uv can lift the limits of a range: pip install uv")
    overrides = Path(session.create_tmp()) / "overrides.txt"
    overrides.write_text("\n".join(f"{name}>=0a0" for name in UPSTREAM), "utf-8")
    session.install(*requirements(), "--upgrade", f"--override={overrides}")


# --- How sessions run ---


def run(session: nox.Session, *command: str, env: str = TESTS, **options: Any) -> None:
    """Run a module in a shared environment, as `python -m` does."""
    variables = {
        # It triples the time of every later start of Python.
        "PYTHONDONTWRITEBYTECODE": None,
        # What the shell happens to have must not decide what is proved.
        **{name: None for name in os.environ if name.startswith(("DJANGO_", "REDIS_"))},
        # Each generated site runs its own copy of the library, seen from the site's folder.
        "PYTHONPATH": f"{LIBRARY}/src",
        **options.pop("variables", {}),
    }
    python = ENVIRONMENTS / env / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    session.run(str(python), "-m", *command, env=variables, external=True, **options)


def pytest(session: nox.Session, *arguments: str, **options: Any) -> None:
    """Run pytest with what was typed after `--`, which may select nothing: exit code 5."""
    codes = [0, 5] if session.posargs else [0]
    run(session, "pytest", LIMIT, *arguments, *session.posargs, success_codes=codes, **options)


@contextmanager
def temporary_folder(prefix: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Give a folder, and variables that keep all temporary files in it.

    Its name holds a space. Other users may pass through: PostgreSQL never runs as root.
    """
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        yield folder, dict.fromkeys(("TMPDIR", "TEMP", "TMP"), folder)


def proof(session: nox.Session, *arguments: str, env: str = TESTS) -> None:
    """Run tests of the template or black-box tests, in a folder of their own."""
    with temporary_folder("proof of ") as (folder, variables):
        pytest(session, *arguments, f"--basetemp={folder}/t", env=env, variables=variables)


@contextmanager
def generated(session: nox.Session, profile: str, env: str = TESTS) -> Iterator[dict[str, str]]:
    """Work in a new site that is not installed; yield the variables for what runs in it."""
    with temporary_folder("site on ") as (folder, variables):
        run(session, "cookiecutter", str(HERE), "--no-input", "--output-dir", folder,
            f"profile={profile}", "install=no", env=env, variables=variables)  # fmt: skip
        with session.chdir(Path(folder) / "my-site"):
            yield variables | {"DJANGO_PROFILE": profile}


def alike(profile: str) -> list[str]:
    """Return the markers of tests that the session of an earlier profile runs as well."""
    markers = [] if profile == PROFILES[0] else ["any_profile"]
    if profile in [name for name in PROFILES if name.startswith("redis")][1:]:
        markers.append("any_redis")
    return markers


def test_profile(session: nox.Session, profile: str, env: str = TESTS) -> None:
    wanted = f"not ({' or '.join(['slow', *alike(profile)])})"
    with generated(session, profile, env) as variables:
        pytest(session, "-m", wanted, env=env, variables=variables)
    proof(session, "proof/test_profile.py", "proof/test_throttle.py", "proof/test_live.py",
          "proof/test_hostile.py", "proof/test_runserver.py", "-m", wanted,
          f"--profile={profile}", env=env)  # fmt: skip


PLAIN: dict[str, Any] = {
    "venv_backend": "none",
    "requires": [TESTS],
    "allow_parallel": True,
    "tags": ["quick"],
}
FULL: dict[str, Any] = PLAIN | {"default": False, "tags": ["full"]}
BY_NAME: dict[str, Any] = PLAIN | {"default": False, "tags": [], "allow_parallel": False}


# --- Plain `nox` ---


@nox.session(**PLAIN)
@nox.parametrize("name", PROFILES, ids=PROFILES)
def profile(session: nox.Session, name: str) -> None:
    """Generate a site with the profile, run its own tests, log in from outside."""
    test_profile(session, name)


@nox.session(**PLAIN)
@nox.parametrize("installer", ["uv", "pip"], ids=["uv", "pip"])
def hook(session: nox.Session, installer: str) -> None:
    """Generate a site as a person does: install it (with uv, or pip alone), log in."""
    proof(session, "tests", "-m", installer)


@nox.session(**PLAIN)
def library(session: nox.Session) -> None:
    """Test django-outlast on a small stock project, with real servers."""
    proof(session, *LIBRARY_TESTS, *([] if session.posargs else ["-m", "not slow"]))


@nox.session(**PLAIN)
def template(session: nox.Session) -> None:
    """Test what is rendered, the prompts, the refusals and the hooks."""
    proof(session, "tests", "-m", "not uv and not pip and not cruft")


@nox.session(**PLAIN)
def switch(session: nox.Session) -> None:
    """Run one generated site on every profile in turn: all sessions survive."""
    proof(session, "proof/test_switch.py")


@nox.session(**PLAIN)
def lint(session: nox.Session) -> None:
    """Check style, format, wording and types of template, site and library."""
    run(session, "tests.voice")
    run(session, "tests.sizes")
    run(session, "ruff", "check", "--no-cache", ".", SITE.name)
    run(session, "ruff", "format", "--no-cache", "--check", ".", SITE.name)
    types(session, "template")
    with session.chdir(HERE / "tests" / "outlast"):  # the library alone, in a stock project
        source = str(SITE / LIBRARY / "src")
        variables = {"PYTHONPATH": f".{os.pathsep}{source}", "MYPYPATH": source}
        types(session, "library", SYSTEMS[:1], **variables)
    with generated(session, PROFILES[0]) as variables:
        variables |= {"DJANGO_DEBUG": "1", "DJANGO_SECRET_KEY": "only-for-types"}
        types(session, "site", **variables)


def types(
    session: nox.Session, name: str, systems: Sequence[str] = SYSTEMS, **variables: str
) -> None:
    """Check types in the current folder, as they are on each of these systems."""
    for system in systems:
        cache = ENVIRONMENTS / "types" / f"{name}-{system}"
        run(session, "mypy", f"--platform={system}", f"--cache-dir={cache}", variables=variables)


@nox.session(venv_backend="none", allow_parallel=True)
def left_out(session: nox.Session) -> None:
    """Say what this machine could not prove: silence would look like a proof."""
    missing = ["faults and browsers (nox -t full)"]
    missing.append("Django 6.1" if sys.version_info < (3, 12) else "Django 5.2")
    if not shutil.which("redis-server"):
        missing.append("Redis itself (no redis-server on PATH; Valkey stood in)")
    if not (shutil.which("initdb") or [*Path("/usr/lib/postgresql").glob("*/bin/initdb")]):
        missing.append("PostgreSQL (no initdb)")
    session.skip(f"Not proved here: {', '.join(missing)}.")


# --- nox -t full ---


@nox.session(**FULL)
@nox.parametrize("name", PROFILES, ids=PROFILES)
def thorough(session: nox.Session, name: str) -> None:
    """Run what takes longer: slow tests, and the doctor on everything that can break."""
    markers = alike(name)
    wanted = "slow or any_profile" if "any_profile" in markers else "slow"
    if "any_redis" in markers:
        wanted = f"({wanted}) and not any_redis"
    with generated(session, name) as variables:
        pytest(session, "-m", wanted, variables=variables)
    proof(session, "proof/test_doctor.py", f"--profile={name}")
    proof(session, "proof/test_throttle.py", "proof/test_live.py", "proof/test_hostile.py",
          "proof/test_runserver.py", "-m", wanted, f"--profile={name}")  # fmt: skip


@nox.session(**FULL | {"requires": [BROWSER]})
@nox.parametrize("name", PROFILES, ids=PROFILES)
def browser(session: nox.Session, name: str) -> None:
    """Use a generated site as people do: in Chromium, by keyboard, on a phone, in the dark."""
    proof(session, "proof/browser", f"--profile={name}", env=BROWSER)


@nox.session(**FULL | {"requires": [CONFORMANCE]})
@nox.parametrize("name", CONFORMING, ids=CONFORMING)
def conformance(session: nox.Session, name: str) -> None:
    """Run the tests of Django, and of channels-redis, on the backends of the profile."""
    variables = {"PYTHONPATH": f"{SITE.name}/{LIBRARY}/src"}
    run(session, "tests.conformance", name, env=CONFORMANCE, variables=variables)


@nox.session(**FULL)
def update(session: nox.Session) -> None:
    """Update a site that is in use from one tag of the template to the next."""
    proof(session, "tests", "-m", "cruft")


@nox.session(**BY_NAME | {"requires": []})
def windows(session: nox.Session) -> None:
    """Make, test and use sites on a Windows Python under Wine: `-- tests template` for more."""
    if not (hasattr(os, "geteuid") and os.geteuid() == 0 and Path("/etc/debian_version").exists()):
        session.skip("NOT PROVED HERE: Windows (needs Debian or Ubuntu, as root)")
    steps = session.posargs or ["site"]
    session.run("bash", "proof/windows/windows.sh", str(HERE), str(ENVIRONMENTS / "windows"),
                "prepare", *steps, external=True)  # fmt: skip


@nox.session(**FULL)
def recipe(session: nox.Session) -> None:
    """Add a profile to a copy of the template, as CONTRIBUTING.md says, and prove it."""
    proof(session, "proof/test_sixth_profile.py", "--timeout=900")  # runs nox itself


@nox.session(**FULL)
def production(session: nox.Session) -> None:
    """Run compose.yaml, the Dockerfile, the drills, the documents and the library's slow tests."""
    proof(session, "proof/test_compose.py", "proof/test_drills.py", "proof/test_docs.py")
    proof(session, *LIBRARY_TESTS, "-m", "slow")


@nox.session(**FULL | {"allow_parallel": False})
@nox.parametrize("name", BREAKABLE, ids=BREAKABLE)
def outage(session: nox.Session, name: str) -> None:
    """Stop, hang, empty and fail over Redis, or the database, below a site in use."""
    of_redis = f"proof/outage/test_outage.py::test_{name.replace('-', '_')}"
    tests = {"database": "proof/outage/test_database.py"}.get(name, of_redis)
    seconds = 1800 if "--every-kind" in session.posargs else 900
    proof(session, tests, f"--session-timeout={seconds}")
    if name == "database" and not session.posargs:
        proof(session, "proof/test_live.py", "--postgres")


# --- By name ---


@nox.session(**BY_NAME | {"requires": [LOWEST, NEWEST], "tags": ["ranges"]})
@nox.parametrize("env", [LOWEST, NEWEST], ids=["lowest", "newest"])
def ranges(session: nox.Session, env: str) -> None:
    """Test on the lowest and on the newest versions that the dependencies allow."""
    test_profile(session, "database", env)
    test_profile(session, "redis", env)


@nox.session(**BY_NAME | {"requires": ["main-environment"], "tags": ["main"]})
def main(session: nox.Session) -> None:
    """Test library and site on the newest pre-releases of what they are built on."""
    env = ENVIRONMENTS / "main-environment"
    session.run("uv", "pip", "list", f"--python={env}", external=True)
    proof(session, *LIBRARY_TESTS, "-m", "not slow", env="main-environment")
    test_profile(session, "database", "main-environment")
    test_profile(session, "redis", "main-environment")


@nox.session(**BY_NAME | {"tags": ["guests"]})
def guests(session: nox.Session) -> None:
    """Add well-known packages to a site, one at a time, and write docs/guests.md."""
    run(session, "proof.guests", *session.posargs)


@nox.session(**BY_NAME | {"requires": [BENCH]})
def bench(session: nox.Session) -> None:
    """Measure: `nox -s bench -- pages --rounds 5`; `-- --help` says what."""
    run(session, "benchmarks", *session.posargs, env=BENCH)


@nox.session(**BY_NAME)
def outage_stock(session: nox.Session) -> None:
    """Throw the same faults at Django's own engines, to see the proof fail."""
    proof(session, "proof/outage/test_stock.py")


@nox.session(venv_backend="none", default=False)
def mutations(session: nox.Session) -> None:
    """Break the template on purpose and see exactly the right sessions turn red."""
    session.run(sys.executable, "proof/mutations.py", *session.posargs, external=True)


@nox.session(**BY_NAME | {"requires": [MUTANTS]})
def mutants(session: nox.Session) -> None:
    """Change operators and numbers of the heart, one at a time: `-- profiles --sample 0`."""
    run(session, "proof.mutants", *session.posargs, env=MUTANTS)
