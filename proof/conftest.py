"""What black-box tests share: a site on the profile that is asked for, and its servers."""

import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import ModuleType
from typing import Any

import pytest

from proof.postgres import Postgres, find_postgres
from proof.site import TEMPLATE, Site


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--profile", default="database", help="the profile of the site under test")
    parser.addoption("--postgres", action="store_true", help="put the site on PostgreSQL")


@functools.cache
def module(name: str) -> ModuleType:
    """Return a module of the site, such as the one that starts servers, from the template."""
    site = TEMPLATE / "{{cookiecutter.project_slug}}"
    sys.path += [str(site), str(site / "vendor" / "django-outlast" / "src")]
    keep, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # it would be generated too
    try:
        return importlib.import_module(name)
    finally:
        sys.dont_write_bytecode = keep


def servers(profile: str, **options: Any) -> Any:
    """Start what a profile needs, with the configuration that production uses."""
    deploy = TEMPLATE / "{{cookiecutter.project_slug}}" / "deploy"
    files = {"config": deploy / "redis.conf", "sentinel_config": deploy / "sentinel.conf"}
    needed = module("config.profiles").SERVERS[profile]
    return module("tests.servers").Topology(**needed, **files, **options)


@pytest.fixture(scope="session")
def start() -> Iterator[Callable[[str], Any]]:
    """Return a function that starts what a profile needs and returns it, or None."""
    with ExitStack() as stack:

        def start(profile: str) -> Any:
            if profile not in module("config.profiles").SERVERS:
                return None
            return stack.enter_context(servers(profile))

        yield start


@pytest.fixture(scope="session")
def profile(request: pytest.FixtureRequest) -> str:
    return str(request.config.getoption("--profile"))


@pytest.fixture(scope="session")
def topology(start: Callable[[str], Any], profile: str) -> Any:
    """The running servers of the profile, or None where it needs none."""
    return start(profile)


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """A PostgreSQL of the module's own, which its tests may stop."""
    if not find_postgres():
        pytest.skip("NOT PROVED: this machine has no PostgreSQL (apt install postgresql)")
    with Postgres() as server:
        yield server


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> Iterator[Postgres | None]:
    """A PostgreSQL if one is asked for, else None: the site is on SQLite."""
    if not request.config.getoption("--postgres"):
        yield None
        return
    with Postgres() as server:
        yield server


@pytest.fixture(scope="session")
def site(
    topology: Any,
    profile: str,
    postgres: Postgres | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    """A running site on the profile."""
    variables = topology.environment() if topology else {}
    if postgres:
        variables["DATABASE_URL"] = postgres.url()
    with Site(tmp_path_factory.mktemp("site"), profile, variables).running() as site:
        yield site
