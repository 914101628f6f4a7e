"""The hook's full path, with uv and with pip alone: from the answers to the login page.

These tests install from an index; on Linux, plain nox leaves them to `nox -s recipe`.
"""

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx2
import pytest

from proof.site import EMAIL, PASSWORD, Browser
from tests.conftest import TEMPLATE, UV, Bake, BakedProject, run

BASE = getattr(sys, "_base_executable", None) or sys.executable
STRICT = {"COOKIECUTTER_DJANGO_PROFILES_STRICT": "1"}


def free_address() -> str:
    """Return a loopback address without a listener, as host:port."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return "{}:{}".format(*probe.getsockname())


@contextmanager
def served(site: BakedProject) -> Iterator[Browser]:
    """Serve the site by its own `runserver`, as its owner does; yield a browser."""
    address = free_address()
    log = site.folder.with_suffix(".log")
    with log.open("wb") as file:
        command = [site.python, "manage.py", "runserver", "--noreload", address]
        server = subprocess.Popen(
            command, cwd=site.folder, env=site.variables, stdout=file, stderr=file
        )
    try:
        with Browser(base_url=f"http://{address}", timeout=10, trust_env=False) as browser:
            for _ in range(300):
                try:
                    browser.get("/accounts/login/")
                except httpx2.TransportError:
                    assert server.poll() is None, log.read_text("utf-8", "replace")
                    time.sleep(0.1)
                else:
                    break
            yield browser
    finally:
        server.terminate()
        server.wait(20)


def can_log_in(site: BakedProject) -> bool:
    """Make an account, serve the site and log in."""
    account = {"DJANGO_SUPERUSER_PASSWORD": PASSWORD}
    site.run("manage.py", "createsuperuser", "--noinput", "--email", EMAIL, **account)
    with served(site) as browser:
        browser.log_in()
        return browser.logged_in


def distributions(site: BakedProject) -> set[str]:
    """Return the names of what is installed in the project's `.venv`."""
    program = "from importlib.metadata import *; print(*(d.name for d in distributions()))"
    return set(site.run("-c", program).lower().replace("_", "-").split())


def test_one_command_ends_at_a_login(
    installer: str, bake: Bake, variables: dict[str, str], tmp_path: Path
) -> None:
    """Also in a shell with variables of another project."""
    (tmp_path / "django.py").write_text("raise SystemExit('not the one of the project')")
    foreign = {
        "DATABASE_URL": "postgres://nobody@127.0.0.1:9/elsewhere",
        "DJANGO_SETTINGS_MODULE": "elsewhere.settings",
        "PYTHONPATH": str(tmp_path),
        "VIRTUAL_ENV": str(tmp_path),
    }
    site = bake(install="yes", variables=variables | STRICT | foreign)
    assert site.exit_code == 0, site.output
    assert f"Installing packages with {installer} ...." in site.output
    assert len(site.commands) == 3
    for name in foreign:
        del site.variables[name]
    base = site.run("-c", "import sys; print(sys._base_executable)").strip()
    assert os.path.realpath(base) == os.path.realpath(BASE)
    installed = distributions(site)
    assert {"django", "pytest", "ruff"} <= installed
    assert {"redis", "hiredis", "channels-redis", "django-outlast"} <= installed
    made = {path.name for path in site.folder.iterdir()}
    sources = {path.name for path in (TEMPLATE / "{{cookiecutter.project_slug}}").iterdir()}
    lock = {"uv.lock"} if installer == "uv" else set()
    assert made - sources == ({".env", ".venv", "var"} | lock) - sources
    assert can_log_in(site)


def indexes(project: Path) -> set[str]:
    """Return the addresses of indexes in a project's lock."""
    return set(re.findall('registry = "([^"]*)"', (project / "uv.lock").read_text("utf-8")))


def indexes_of_any_project(folder: Path, variables: dict[str, str]) -> set[str]:
    """Return what uv writes into the lock of a project without a template."""
    folder.mkdir()
    for command in (["init", "--bare"], ["add", "--no-sync", "sqlparse"]):
        done = run([UV or "uv", *command], folder, variables)
        assert done.returncode == 0, done.stdout
    return indexes(folder)


@pytest.mark.slow
@pytest.mark.parametrize("installer", ["uv"])
def test_a_locked_site_on_redis_is_synchronised_and_starts_without_redis(
    bake: Bake, variables: dict[str, str], tmp_path: Path
) -> None:
    """`uv sync` removes nothing that a profile needs; the lock names the index uv is set to."""
    site = bake(install="yes", profile="redis", variables=variables | STRICT)
    assert site.exit_code == 0, site.output
    done = run([UV or "uv", "sync", "--locked"], site.folder, site.variables)
    assert done.returncode == 0, done.stdout
    assert {"redis", "hiredis", "channels-redis"} <= distributions(site)
    assert indexes(site.folder) == indexes_of_any_project(tmp_path / "other", site.variables)
    site.variables["REDIS_URL"] = f"redis://{free_address()}"
    assert can_log_in(site)


@pytest.mark.slow
@pytest.mark.parametrize("installer", ["uv"])
def test_the_image_installs_what_is_locked(
    bake: Bake, variables: dict[str, str], tmp_path: Path
) -> None:
    """By the Dockerfile's own command, which refuses a lock that is missing or out of date."""
    site = bake(variables=variables)
    (command,) = re.findall(r"^RUN (uv sync .*)$", site.read("Dockerfile"), re.MULTILINE)
    venv = tmp_path / "venv"
    ours = site.variables | {"UV_PROJECT_ENVIRONMENT": str(venv)}
    words = [UV or "uv", *shlex.split(command)[1:]]
    assert "Unable to find lockfile" in run(words, site.folder, ours).stdout
    assert run([UV or "uv", "lock"], site.folder, ours).returncode == 0
    done = run(words, site.folder, ours)
    assert done.returncode == 0, done.stdout
    python = venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    program = "import outlast, psycopg, prometheus_client, redis; print(outlast.__file__)"
    assert str(venv) in run([str(python), "-P", "-c", program], tmp_path, ours).stdout
    assert (
        "No module named 'pytest'"
        in run([str(python), "-c", "import pytest"], tmp_path, {}).stdout
    )


def other_python() -> str:
    """Return a supported Python of another version, or that of the tests."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [str(path) for path in versions.glob("3.1[1-4].*/bin/python")]
    found += filter(None, (shutil.which(f"python3.{minor}") for minor in range(14, 10, -1)))
    program = "import sys; sys.exit(f'{sys.version_info[:2]}' == sys.argv[1])"
    for python in found:
        done = run([python, "-c", program, str(sys.version_info[:2])], Path(), dict(os.environ))
        if done.returncode == 0:
            return python
    print("Left out: this machine has one supported Python only.")
    return BASE


@pytest.mark.slow
@pytest.mark.parametrize("installer", ["uv"])
def test_another_python_may_be_named(bake: Bake, variables: dict[str, str]) -> None:
    python = other_python()
    site = bake(install="yes", variables=variables | STRICT | {"PROJECT_PYTHON": python})
    assert site.exit_code == 0, site.output
    program = "import sys; print(sys.version)"
    assert site.run("-c", program) == run([python, "-c", program], Path(), {}).stdout


@pytest.fixture
def outage(tmp_path: Path) -> dict[str, str]:
    """Variables under which no index can be reached, and nothing is cached."""
    closed = f"http://{free_address()}/simple"
    return {
        "UV_DEFAULT_INDEX": closed,
        "UV_CACHE_DIR": str(tmp_path / "cache"),
        "UV_HTTP_RETRIES": "0",
        "UV_NO_CONFIG": "1",
        "PIP_INDEX_URL": closed,
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_EXTRA_INDEX_URL": "",
        "PIP_FIND_LINKS": "",
        "PIP_NO_CACHE_DIR": "1",
        "PIP_RETRIES": "0",
    }


def test_without_an_index_the_project_is_kept(
    installer: str, bake: Bake, variables: dict[str, str], outage: dict[str, str]
) -> None:
    site = bake(install="yes", variables=variables | outage)
    assert site.exit_code == 0, site.output
    label = f"Installing packages with {installer}"
    assert re.search(rf"{label} \.+ failed after \d+\.\d s", site.output)
    assert f"my-site is kept, but a step failed: {label}." in site.output
    assert [command.split()[-1] for command in site.commands[-3:]] == [
        "migrate", "createsuperuser", "runserver"
    ]  # fmt: skip
    assert (site.folder / ".env").exists()


@pytest.mark.slow
@pytest.mark.parametrize("installer", ["uv"])
def test_the_commands_finish_the_job(
    bake: Bake, variables: dict[str, str], outage: dict[str, str], tmp_path: Path
) -> None:
    """They are run as they are printed, once the index is back; the folder has a space."""
    output = tmp_path / "my sites"
    site = bake(install="yes", output=output, variables=variables | outage)
    for name in outage:
        del site.variables[name]
    site.variables.update({name: os.environ[name] for name in outage if name in os.environ})
    # uv is not on this PATH, and so was printed with its path.
    *finish, _createsuperuser, _runserver = site.commands
    shell = ["powershell", "-Command", "-"] if os.name == "nt" else ["sh", "-e"]
    done = run(shell, tmp_path, site.variables, typed="\n".join([*finish, ""]))
    assert done.returncode == 0, done.stdout
    assert can_log_in(site)


@pytest.mark.slow
@pytest.mark.parametrize("installer", ["uv"])
def test_a_migration_that_fails(
    bake: Bake, variables: dict[str, str], template_copy: Path
) -> None:
    settings = template_copy / "{{cookiecutter.project_slug}}" / "config" / "settings.py"
    settings.write_text("raise SystemExit('broken on purpose')\n", "utf-8")
    site = bake(install="yes", template=template_copy, variables=variables)
    assert site.exit_code == 0, site.output
    assert re.search(r"Migrating the database \.+ failed .* s\n\nbroken on purpose\n", site.output)
    assert str(site.folder) in site.commands[0]
    assert [command.split()[-1] for command in site.commands[1:]] == [
        "migrate", "createsuperuser", "runserver"
    ]  # fmt: skip
    assert {"django", "pytest"} <= distributions(site)
