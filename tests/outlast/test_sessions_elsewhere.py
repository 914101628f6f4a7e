"""The tests of sessions once more: on PostgreSQL, and with a multi-table user model."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from proof.postgres import Postgres, find_postgres

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent


def run(*arguments: str, **variables: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-c", "pytest.ini", "-m", "not slow", *arguments],
        cwd=HERE,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


@pytest.mark.skipif(not find_postgres(), reason="there is no PostgreSQL here")
def test_sessions_on_postgresql() -> None:
    tests = [path.name for path in HERE.glob("test_session*.py") if path != Path(__file__)]
    with Postgres() as server:
        run(*tests, TEST_POSTGRES_PORT=str(server.port))


def test_a_multi_table_user() -> None:
    run("test_session_user.py", TEST_USER_MODEL="members.Member")
