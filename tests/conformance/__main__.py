"""`python -m tests.conformance PROFILE`: fetch Django's tests, start servers, run the tests."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import django
from outlast.servers import Topology

HERE = Path(__file__).parent

# The labels of Django's tests that each profile must pass.
SESSIONS = [  # those of Django's engine `db`, whose place the library's engines take
    "sessions_tests.tests.DatabaseSessionTests",
    "sessions_tests.tests.DatabaseSessionWithTimeZoneTests",
    "sessions_tests.tests.CustomDatabaseSessionTests",
    "sessions_tests.tests.SessionMiddlewareTests",
    "sessions_tests.tests.ClearSessionsCommandTests",
    "sessions_tests.tests.SessionBaseTests",
]
TESTS = {
    "database": ["cache.tests.DBCacheTests", "cache.tests.DBCacheWithTimeZoneTests", *SESSIONS],
    "file": ["cache.tests.FileBasedCacheTests", *SESSIONS],
    "redis": ["cache.tests.RedisCacheTests", *SESSIONS],
    "redis-sentinel": ["cache.tests.RedisCacheTests", *SESSIONS],
}
SERVERS = {
    "redis": {"replicas": 0, "sentinels": 0},
    "redis-sentinel": {"replicas": 1, "sentinels": 3},
}


def fetch_tests() -> Path:
    """Return the folder `tests` of the source distribution of the installed Django."""
    version = django.get_version()
    folder = Path(sys.prefix, f"django-{version}")  # kept in the environment
    if not list(folder.glob("*/tests")):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--no-binary=django", f"--dest={folder}", f"django=={version}"]
        subprocess.run(command, check=True)
        (archive,) = folder.glob("*.tar.gz")
        with tarfile.open(archive) as source:
            source.extractall(folder, filter="data")
    return next(folder.glob("*/tests"))


def run_tests(tests: Path, profile: str, more: dict[str, str]) -> int:
    """Run the profile's tests; return the exit code of Django's `runtests.py`."""
    library = [path for path in sys.path if Path(path, "outlast").is_dir()]
    command = [sys.executable, "runtests.py", "--parallel=1", "--settings=settings_of_profile"]
    environment = os.environ | more
    environment["PYTHONPATH"] = os.pathsep.join([str(HERE), *library])
    environment["CONFORMANCE_PROFILE"] = profile
    return subprocess.call([*command, *TESTS[profile]], cwd=tests, env=environment)


def main(profile: str) -> int:
    """Return 0 if all tests passed."""
    tests = fetch_tests()
    if profile not in SERVERS:
        return run_tests(tests, profile, {})
    with Topology(**SERVERS[profile]) as servers:
        return run_tests(tests, profile, servers.environment())


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
