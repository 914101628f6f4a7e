"""The tests of sessions once more, on PostgreSQL."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from proof.postgres import Postgres, find_postgres

HERE = Path(__file__).parent


@pytest.mark.slow
@pytest.mark.skipif(not find_postgres(), reason="there is no PostgreSQL here")
def test_sessions_on_postgresql() -> None:
    tests = [
        path.name for path in HERE.glob("test_session*.py") if path.name != Path(__file__).name
    ]
    with Postgres() as server:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-c", "pytest.ini", "-m", "not slow", *tests],
            cwd=HERE,
            env=os.environ | {"TEST_POSTGRES_PORT": str(server.port)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
