"""The tests of sessions once more: on PostgreSQL, and with a multi-table user model."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from proof.postgres import Postgres, find_postgres

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
COMMAND = [sys.executable, "-m", "pytest", "-q", f"--config-file={HERE / 'pytest.ini'}"]
COMMAND += ["-m", "not slow", "-n", "2"]


def run(*arguments: str, **variables: str) -> None:
    done = subprocess.run(
        [*COMMAND, *arguments],
        cwd=HERE.parents[1],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


@pytest.mark.skipif(not find_postgres(), reason="there is no PostgreSQL here")
def test_sessions_on_postgresql() -> None:
    tests = [str(path) for path in HERE.glob("test_session*.py") if path != Path(__file__)]
    with Postgres() as server:
        run(*tests, TEST_POSTGRES_PORT=str(server.port))


def test_a_multi_table_user() -> None:
    run(str(HERE / "test_session_user.py"), TEST_USER_MODEL="members.Member")
