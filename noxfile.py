"""Every check of the template: `nox -l` reads as its documentation, `nox` runs it.

All sessions of one Python share one environment, in which the template is rendered and
the site is run, and run beside each other. The profiles come from `cookiecutter.json`.
"""

import atexit
import functools
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import nox

nox.needs_version = ">=2026.8.10"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.download_python = "never"
# Sessions wait a lot, for servers; those that wait most are defined, and so begin, first.
# One by one, what they print is shown as it comes.
nox.options.parallel = 1 if "bench" in sys.argv else min((os.cpu_count() or 2) + 2, 4)

# What a shell starts in the background ignores Ctrl-C, and so would those that tests send it to.
signal.signal(signal.SIGINT, signal.default_int_handler)

HERE = Path(__file__).parent
SITE = HERE / "{{cookiecutter.project_slug}}"
LIBRARY = "vendor/django-outlast"
PROFILES = json.loads((HERE / "cookiecutter.json").read_text("utf-8"))["profile"]
SUPPORTED = ["3.11", "3.12", "3.13", "3.14"]


# No test waits without end: after so many seconds it fails, and pytest-timeout prints what
# each thread was doing. On an idle machine the longest takes a tenth of that.
LIMIT = "--timeout=300"
RESOLUTION = 120  # seconds that uv is given to choose versions; it takes some seconds


class Environment(NamedTuple):
    """What of pyproject.toml is in an environment, and in which versions, in uv's word."""

    groups: list[str]
    resolution: str = ""  # what is there already, else the newest


# The environments that sessions share.
ENVIRONMENTS = {
    "environment": Environment(["test"]),
    "browser-environment": Environment(["test", "browser"]),
    "bench-environment": Environment(["test", "bench"]),
    "coverage-environment": Environment(["test", "coverage"]),
    "mutants-environment": Environment(["test", "mutants"]),
    "lowest-environment": Environment(["test"], "lowest-direct"),
    "newest-environment": Environment(["test"], "highest"),
}


class Python(NamedTuple):
    """An interpreter of this machine: version such as "3.11", path, suffix of its sessions."""

    version: str
    path: str
    suffix: str
    shared: str = "environment"  # one of ENVIRONMENTS

    @property
    def environment(self) -> Path:
        """The interpreter of the environment that its sessions share."""
        folder = HERE / ".nox" / f"{self.shared}{self.suffix}"
        return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def find_pythons() -> list[Python]:
    """Return the Python that runs nox, then the others on PATH; never a download."""
    base = getattr(sys, "_base_executable", sys.executable)
    running = "{}.{}".format(*sys.version_info)
    found = [Python(running, base, "")]
    for version in SUPPORTED:
        path = shutil.which(f"python{version}")
        # A name on PATH is not yet an interpreter: pyenv's shims answer for what is not active.
        if (
            version != running
            and path
            and not subprocess.call(
                [path, "-c", ""], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        ):
            found.append(Python(version, path, f"-py{version.replace('.', '')}"))
    return found


PYTHONS = find_pythons()


def check(
    *, per: list[str] | None = None, environment: str = "environment", **options: Any
) -> Callable[..., Any]:
    """Register a session for each Python found, once for each of `per` where given.

    Those of plain nox carry the tag `quick`: `nox -k "py313 and quick"` is one Python's.
    """
    if options.get("default", True):
        options["tags"] = ["quick"]

    def register(function: Callable[..., None]) -> Callable[..., None]:
        for python in PYTHONS:
            used = python._replace(shared=environment)
            session = functools.wraps(function)(functools.partial(function, python=used))
            if per:
                session = nox.parametrize("name", per, ids=per)(session)
            nox.session(
                name=function.__name__.replace("_", "-") + python.suffix,
                venv_backend="none",
                requires=[environment + python.suffix],
                **{"allow_parallel": True, **options},
            )(session)
        return function

    return register


def requirements(groups: list[str]) -> list[str]:
    """Return what the site, its tests and these groups of the template's own tools need."""
    site = nox.project.load_toml(SITE / "pyproject.toml")
    library = nox.project.load_toml(SITE / LIBRARY / "pyproject.toml")
    own = nox.project.load_toml(HERE / "pyproject.toml")
    used = [
        item
        for project in (site["project"], library["project"])
        for items in (project["dependencies"], *project["optional-dependencies"].values())
        for item in items
    ]
    return [
        *(item for item in used if not item.startswith("django-outlast")),
        *nox.project.dependency_groups(site, "dev", "types"),
        *nox.project.dependency_groups(own, *groups),
    ]


def make_environment(session: nox.Session, python: Python, wanted: Environment) -> None:
    """Install what sessions share, once; the ends of the ranges anew each time."""
    options = []
    if wanted.resolution:
        if session.venv_backend != "uv":
            session.error("Only uv can choose the lowest versions: pip install uv")
        options = ["--upgrade", f"--resolution={wanted.resolution}"]
        if python.version != "3.11":
            options.append("django>=6.1")  # Python 3.11 proves the lowest of Django 5.2
    session.install(*requirements(wanted.groups), *options)


for _python in PYTHONS:
    for _name, _wanted in ENVIRONMENTS.items():
        nox.session(
            name=_name + _python.suffix,
            python=_python.path,
            reuse_venv=True,
            allow_parallel=True,
            default=False,
        )(
            functools.wraps(make_environment)(
                functools.partial(make_environment, python=_python, wanted=_wanted)
            )
        )


def run(session: nox.Session, python: Python, *command: str, **options: Any) -> None:
    """Run a module of the shared environment, as `python -m` does, with bytecode kept."""
    variables = {
        # It triples the time of every later start of Python.
        "PYTHONDONTWRITEBYTECODE": None,
        # What the shell happens to have must not decide what is proved.
        **{name: None for name in os.environ if name.startswith(("DJANGO_", "REDIS_"))},
        # Each generated site runs its own copy of the library, seen from the site's folder.
        "PYTHONPATH": f"{LIBRARY}/src",
        **options.pop("env", {}),
    }
    session.run(str(python.environment), "-m", *command, env=variables, external=True, **options)


@contextmanager
def temporary_folder(prefix: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Give a folder, and variables that keep all temporary files in it: cookiecutter leaves some.

    Its name holds a space; other users may pass through, since PostgreSQL never runs as root.
    """
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        yield folder, dict.fromkeys(("TMPDIR", "TEMP", "TMP"), folder)


def proof(session: nox.Session, python: Python, *arguments: str) -> None:
    """Run black-box tests of `proof/`, in a folder of their own."""
    with temporary_folder("proof of ") as (folder, variables):
        pytest(session, python, *arguments, f"--basetemp={folder}/t", env=variables)


def pytest(session: nox.Session, python: Python, *arguments: str, env: dict[str, str]) -> None:
    """Run pytest with what was typed after `--`.

    That may select nothing where a session has the tests of the site and of `proof/`.
    """
    in_two_places = session.name.startswith(("profile", "thorough"))
    allowed = [0, 5] if session.posargs and in_two_places else [0]  # 5: no test was selected
    run(session, python, "pytest", LIMIT, *arguments, *session.posargs,
        env=env, success_codes=allowed)  # fmt: skip


@check(per=PROFILES)
def profile(session: nox.Session, python: Python, name: str) -> None:
    """Generate a site with the profile, run its own tests, log in from outside."""
    wanted = f"not ({' or '.join(['slow', *alike(name)])})"
    site_tests(session, python, name, "-m", wanted)
    proof(session, python, "proof/test_profile.py", "proof/test_throttle.py",
          "proof/test_live.py", "-m", wanted, f"--profile={name}")  # fmt: skip


@check()
def library(session: nox.Session, python: Python) -> None:
    """Test django-outlast on a small stock project, with real servers."""
    with temporary_folder("library of ") as (folder, variables):
        run(session, python, "pytest", "-c", "tests/outlast/pytest.ini", LIMIT, "tests/outlast",
            *([] if session.posargs else ["-m", "not slow"]), *session.posargs,
            f"--basetemp={folder}/t", env=variables)  # fmt: skip


@check(per=["uv", "pip"])
def hook(session: nox.Session, python: Python, name: str) -> None:
    """Generate a site as a person does: install it (with uv, or pip alone), log in."""
    proof(session, python, "tests", "-m", name)


@check()
def template(session: nox.Session, python: Python) -> None:
    """Test what is rendered, the prompts, the refusals and the hooks."""
    proof(session, python, "tests", "-m", "not uv and not pip and not cruft")


@check()
def switch(session: nox.Session, python: Python) -> None:
    """Run one generated site on every profile in turn: nobody is logged out."""
    proof(session, python, "proof/test_switch.py")


@check()
def lint(session: nox.Session, python: Python) -> None:
    """Check style, format and types of template and site."""
    run(session, python, "ruff", "check", "--no-cache", ".", SITE.name)
    run(session, python, "ruff", "format", "--no-cache", "--check", ".", SITE.name)
    known = HERE / ".nox" / f"types{python.suffix}"  # the second run takes a second
    run(session, python, "mypy", f"--cache-dir={known / 'template'}")
    with generated(session, python, PROFILES[0]) as variables:
        variables |= {"DJANGO_DEBUG": "1", "DJANGO_SECRET_KEY": "only-for-types"}
        run(session, python, "mypy", f"--cache-dir={known / 'site'}", env=variables)


@check(per=PROFILES, tags=["full"], default=False)
def thorough(session: nox.Session, python: Python, name: str) -> None:
    """Run what takes longer: the site's slow tests, the doctor on all that can break, idling."""
    wanted = "slow or any_profile" if "any_profile" in alike(name) else "slow"
    if "any_redis" in alike(name):
        wanted = f"({wanted}) and not any_redis"
    site_tests(session, python, name, "-m", wanted)
    proof(session, python, "proof/test_doctor.py", f"--profile={name}")
    proof(session, python, "proof/test_throttle.py", "proof/test_live.py", "-m", wanted,
          f"--profile={name}")  # fmt: skip


def alike(profile: str) -> list[str]:
    """Return the markers of those tests which an earlier profile's session runs as well."""
    markers = [] if profile == PROFILES[0] else ["any_profile"]
    if profile in [name for name in PROFILES if name.startswith("redis")][1:]:
        markers.append("any_redis")
    return markers


def site_tests(session: nox.Session, python: Python, profile: str, *arguments: str) -> None:
    """Generate a site and run its own tests in it, on the profile."""
    with generated(session, python, profile) as variables:
        variables = {**variables, "DJANGO_PROFILE": profile}
        pytest(session, python, *arguments, env=variables)


@contextmanager
def generated(session: nox.Session, python: Python, profile: str) -> Iterator[dict[str, str]]:
    """Work in a new site that is not installed; yield the variables for what runs in it."""
    with temporary_folder("site on ") as (folder, variables):
        run(session, python, "cookiecutter", str(HERE), "--no-input", "--output-dir", folder,
            f"profile={profile}", "install=no", env=variables)  # fmt: skip
        with session.chdir(Path(folder) / "my-site"):
            yield variables


@check(per=PROFILES, environment="browser-environment", tags=["full"], default=False)
def browser(session: nox.Session, python: Python, name: str) -> None:
    """Use a generated site as people do: in Chromium, by keyboard, on a phone, in the dark."""
    proof(session, python, "proof/browser", f"--profile={name}")


@check(tags=["full"], default=False)
def update(session: nox.Session, python: Python) -> None:
    """Update a site that is in use, by cruft, from one tag of the template to the next."""
    proof(session, python, "tests", "-m", "cruft")


@check(tags=["full"], default=False)
def recipe(session: nox.Session, python: Python) -> None:
    """Add a sixth profile to a copy of the template, as CONTRIBUTING.md says, and prove it."""
    proof(session, python, "proof/test_sixth_profile.py", "--timeout=900")  # runs nox itself


@check(tags=["full"], default=False)
def production(session: nox.Session, python: Python) -> None:
    """Run what compose.yaml and the Dockerfile run, and follow the drills of the documents."""
    proof(session, python, "proof/test_compose.py", "proof/test_drills.py")


@check(environment="coverage-environment", tags=["coverage"], default=False)
def coverage(session: nox.Session, python: Python) -> None:
    """Measure which lines and branches of the hooks the tests reach, rendered and in processes."""
    with temporary_folder("coverage of hooks ") as (folder, variables):
        run(session, python, "tests.coverage_of_hooks", folder, LIMIT, "tests",
            "-m", "not uv and not pip and not cruft", *session.posargs,
            f"--basetemp={folder}/t", env=variables)  # fmt: skip


def prove_versions(session: nox.Session, python: Python) -> None:
    """Test the template and, without and with Redis, a site on the versions that are there."""
    template(session, python)
    profile(session, python, "database")
    profile(session, python, "redis")


@check(environment="lowest-environment", tags=["ranges"], default=False)
def lowest(session: nox.Session, python: Python) -> None:
    """Test on the lowest versions that pyproject.toml allows; what those need is newer."""
    prove_versions(session, python)


@check(environment="newest-environment", tags=["ranges"], default=False)
def newest(session: nox.Session, python: Python) -> None:
    """Test on the newest versions that pyproject.toml allows."""
    prove_versions(session, python)


@nox.session(venv_backend="none", default=False, tags=["ranges"])
def wheels(session: nox.Session) -> None:
    """Look for the lowest versions as wheels, for every Python and system: nothing is built."""
    uv = shutil.which("uv") or shutil.which(os.environ.get("UV", "uv"))
    if not uv:
        session.error("Only uv can choose the lowest versions: pip install uv")
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder) / "requirements.in"
        wanted.write_text("\n".join(requirements(["test", "browser", "bench"])), "utf-8")
        for version, system in itertools.product(SUPPORTED, ("linux", "macos", "windows")):
            command = [uv, "pip", "compile", "--quiet", "--no-header", "--no-annotate",
                       "--resolution=lowest-direct", f"--python-version={version}",
                       f"--python-platform={system}", str(wanted)]  # fmt: skip
            where = f"for Python {version} on {system}"
            lowest, found = (
                set(resolve(session, [*command, *only], where))
                for only in ([], ["--only-binary=:all:"])
            )
            if lowest != found:
                missing = ", ".join(sorted(lowest - found))
                session.error(f"No wheel {where}: {missing}")


def resolve(session: nox.Session, command: list[str], where: str) -> list[str]:
    """Return the versions that uv chooses; fail the session if it finds none, or does not end."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=RESOLUTION)
    except subprocess.TimeoutExpired:
        session.error(f"uv chose no versions {where} in {RESOLUTION} s: does the index answer?")
    if done.returncode:
        session.error(f"uv finds no versions {where}; it says why above")
    return done.stdout.splitlines()


@check(environment="bench-environment", default=False)
def bench(session: nox.Session, python: Python) -> None:
    """Measure: `nox -s bench -- pages --rounds 5 --json figures.json`; `-- --help` says what."""
    run(session, python, "benchmarks", *session.posargs)


@check(
    per=["redis", "redis-sentinel", "database"], default=False, tags=["full"], allow_parallel=False
)
def outage(session: nox.Session, python: Python, name: str) -> None:
    """Stop, hang, empty and fail over Redis, or the database, below a site in use.

    Each fault once, on Valkey or on Redis; on both with `nox -s outage -- --every-kind`.
    """
    of_redis = f"proof/outage/test_outage.py::test_{name.replace('-', '_')}"
    tests = {"database": "proof/outage/test_database.py"}.get(name, of_redis)
    # A machine on which many cells take long shall say so, and not go on for an hour.
    seconds = 1800 if "--every-kind" in session.posargs else 900
    proof(session, python, tests, f"--session-timeout={seconds}")


@check(default=False, allow_parallel=False)
def outage_stock(session: nox.Session, python: Python) -> None:
    """Throw the same faults at Django's own engines, to see the proof fail."""
    proof(session, python, "proof/outage/test_stock.py")


@nox.session(venv_backend="none", default=False)
def mutations(session: nox.Session) -> None:
    """Break the template on purpose and see exactly the right sessions turn red."""
    session.run(sys.executable, "proof/mutations.py", *session.posargs, external=True)


@check(environment="mutants-environment", default=False, allow_parallel=False)
def mutants(session: nox.Session, python: Python) -> None:
    """Change operators and numbers of the heart, one at a time: `-- profiles --sample 0`."""
    run(session, python, "proof.mutants", *session.posargs)


def say_what_was_left_out() -> None:
    """Name what this machine could not prove: silence would look like a proof."""
    missing = []
    versions = {tuple(map(int, python.version.split("."))) for python in PYTHONS}
    if not any(version >= (3, 12) for version in versions):
        missing.append("Django 6.1 (no Python 3.12 or later on PATH)")
    if (3, 11) not in versions:
        missing.append("Django 5.2 on Python 3.11 (no python3.11 on PATH)")
    if not shutil.which("redis-server"):
        missing.append("Redis itself (no redis-server on PATH; Valkey stood in)")
    if not (shutil.which("initdb") or [*Path("/usr/lib/postgresql").glob("*/bin/initdb")]):
        missing.append("PostgreSQL: its outages, backup, restore and loss (no initdb)")
    missing.append("faults and browsers, unless asked for with: nox -t full")
    print("Not proved here: " + "; ".join(missing) + ".", file=sys.stderr)


if not {"-l", "--list", "--list-sessions", "--json", "--help", "-h", "--version",
        "--parallel-worker"} & set(sys.argv):  # fmt: skip
    atexit.register(say_what_was_left_out)
