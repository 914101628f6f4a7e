"""`python -m tests.conformance PROFILE`: fetch the tests of others, start servers, run them.

They are Django's tests of caches and sessions, and channels-redis' tests of its pub/sub layer.
"""

import fcntl
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

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
    "redis-cluster": ["cache.tests.RedisCacheTests", *SESSIONS],
}
# Those of channels-redis, and what their Sentinel asks for.
LAYER_TESTS: dict[str, tuple[str, dict[str, str]]] = {
    "redis": ("tests/test_pubsub.py", {}),
    "redis-sentinel": (
        "tests/test_pubsub_sentinel.py",
        {"sentinel_password": "channels_redis"},
    ),
}
SERVERS = {
    "redis": {"replicas": 0, "sentinels": 0},
    "redis-sentinel": {"replicas": 1, "sentinels": 3},
    "redis-cluster": {"replicas": 0, "shards": 3},
}


@contextmanager
def locked() -> Iterator[None]:
    """Let one process at a time add to the environment: sessions of nox start at once."""
    with Path(sys.prefix, "conformance.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@locked()
def fetch_tests(package: str) -> Path:
    """Return the folder `tests` of the source distribution of an installed package."""
    exact = f"{package}=={version(package)}"
    folder = Path(sys.prefix, exact.replace("==", "-"))  # kept in the environment
    if not list(folder.glob("*/tests")):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        subprocess.run([*command, f"--no-binary={package}", f"--dest={folder}", exact], check=True)
        (archive,) = folder.glob("*.tar.gz")
        with tarfile.open(archive) as source:
            # Python 3.11.3 and earlier have neither the filters nor an argument for them.
            source.extraction_filter = getattr(tarfile, "data_filter", None)
            source.extractall(folder)  # noqa: S202
    return next(folder.glob("*/tests"))


@locked()
def install_plugin() -> Path:
    """Return the folder of pytest-asyncio, which is for these tests only."""
    plugin = Path(sys.prefix, "pytest-asyncio")
    if not plugin.exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        command += [f"--target={plugin}", "pytest-asyncio>=1.0", "async-timeout>=4"]
        subprocess.run(command, check=True)
    return plugin


def run_tests(tests: Path, profile: str, more: dict[str, str]) -> int:
    """Run the profile's tests; return the exit code of Django's `runtests.py`."""
    library = [path for path in sys.path if Path(path, "outlast").is_dir()]
    command = [sys.executable, "runtests.py", "--parallel=1", "--settings=settings_of_profile"]
    environment = os.environ | more
    environment["PYTHONPATH"] = os.pathsep.join([str(HERE), *library])
    environment["CONFORMANCE_PROFILE"] = profile
    return subprocess.call([*command, *TESTS[profile]], cwd=tests, env=environment)


def run_layer_tests(profile: str) -> int:
    """Run channels-redis' tests with our layer in place of theirs; return pytest's exit code."""
    tests, more = LAYER_TESTS[profile]
    plugin = install_plugin()
    library = [path for path in sys.path if Path(path, "outlast").is_dir()]
    with Topology(**SERVERS[profile], **more) as servers:
        environment = os.environ | servers.environment()
        environment["PYTHONPATH"] = os.pathsep.join([str(HERE), str(plugin), *library])
        command = [sys.executable, "-m", "pytest", "-p", "our_layers", tests]
        return subprocess.call(command, cwd=fetch_tests("channels-redis").parent, env=environment)


def main(profile: str) -> int:
    """Return 0 if all tests passed."""
    tests = fetch_tests("django")
    if profile not in SERVERS:
        return run_tests(tests, profile, {})
    with Topology(**SERVERS[profile]) as servers:
        failed = run_tests(tests, profile, servers.environment())
    if failed or profile not in LAYER_TESTS:  # channels-redis has no tests on a cluster
        return failed
    return run_layer_tests(profile)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
