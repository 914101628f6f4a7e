"""Start the real servers that the active profile needs, before Django reads its settings.

A plugin named in `addopts`, since pytest-django reads the settings before any conftest.py.
The servers of .env are never touched: tests break and empty theirs. Each worker of
pytest-xdist is a process of its own, and has servers of its own.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from outlast.environment import Env

from config.profiles import SERVERS


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Iterator[Any]:
    """Wrapped around pytest-django's hook, which reads the settings."""
    Env().read_file(Path(__file__).parent.parent / ".env")  # type: ignore[no-untyped-call]
    profile = os.environ.get("DJANGO_PROFILE")
    if profile in SERVERS:
        from outlast.servers import ServerError, Topology

        try:
            topology = Topology(**SERVERS[profile])
        except ServerError as error:
            raise pytest.UsageError(
                f"The profile {profile} cannot be tested here. {error}"
            ) from None
        early_config.add_cleanup(topology.close)
        os.environ.update(topology.environment())
    return (yield)
