"""Fixtures for the library's tests: real servers, and settings that use them."""

import asyncio
import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis.utils
from caches import make_cache
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.contrib.contenttypes.management import create_contenttypes
from django.db.models.signals import post_migrate
from django.test import Client
from layer_helpers import name_database
from outlast import live
from outlast.cache import RedisCache
from outlast.channels.postgres import PostgresLayer
from outlast.channels.redis import PubSubLayer
from outlast.sessions import session_ended
from served import Server, serving
from session_helpers import PASSWORD, Copies, is_logged_in
from troubleshooting import SITE

from proof.postgres import Postgres
from tests.servers import Topology

LIBRARY = SITE / "vendor" / "django-outlast"

# These take an eighth of the processor time, and no test here needs them.
# Permissions and content types for each emptied database:
post_migrate.disconnect(dispatch_uid="django.contrib.auth.management.create_permissions")
post_migrate.disconnect(create_contenttypes)
# The version of redis-py, which is read from a file for each connection:
redis.utils.get_lib_version = functools.cache(redis.utils.get_lib_version)
# The system's certificates, for each TLS connection; tests with TLS have their own:
os.environ["SSL_CERT_FILE"] = os.devnull

# Python 3.11 does not close a socket that a server resets before the TLS handshake, as one that is
# killed does. Such a socket has no address of a peer.
LEFT_OPEN = r"unclosed <ssl.SSLSocket fd=\d+, family=2, type=1, proto=\d+, laddr=\([^()]*\)>"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Ignore LEFT_OPEN by a marker, which `-Werror` does not override."""
    for item in items:
        item.add_marker(pytest.mark.filterwarnings(f"ignore:{LEFT_OPEN}:ResourceWarning"))


@pytest.fixture(autouse=True)
def _close_layers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The connections of a channel layer do not outlive its test."""
    made, create = [], PubSubLayer.__init__

    def note(self: PubSubLayer, *args: Any, **options: Any) -> None:
        create(self, *args, **options)
        made.append(self)

    monkeypatch.setattr(PubSubLayer, "__init__", note)
    yield
    for layer in made:
        asyncio.run(layer.flush())


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Topology]:
    """One real Redis or Valkey; a test that breaks it starts one of its own."""
    with Topology() as topology:
        yield topology


@pytest.fixture
def backend(redis_server: Topology) -> Topology:
    """The Redis of `cache`; modules that break it override this by one of their own."""
    return redis_server


@pytest.fixture
def cache(backend: Topology) -> RedisCache:
    """A cache that has been used; only "kept" is in it."""
    backend.primary.client().flushall()
    cache = make_cache(backend)
    cache.set("kept", "value")
    assert cache.get("kept") == "value"
    return cache


@pytest.fixture
def redis_url(redis_server: Topology) -> str:
    """The address of `redis_server`, emptied before the test."""
    with redis_server.primary.client() as client:
        client.flushall()
    return redis_server.environment()["REDIS_URL"]


@pytest.fixture
def use_cache(settings: Any) -> Callable[..., None]:
    """A function that puts the cache, and with it session copies, on a Redis."""

    def use(location: str, **options: Any) -> None:
        cache = {"BACKEND": "outlast.cache.RedisCache", "LOCATION": location}
        settings.CACHES = {"default": cache | {"KEY_PREFIX": "test", "OPTIONS": options}}

    return use


@pytest.fixture
def use_redis(use_cache: Callable[..., None], redis_url: str) -> Callable[..., None]:
    """A function that puts the cache on `redis_server`, with these options."""
    return functools.partial(use_cache, redis_url)


@pytest.fixture
def user(db: None) -> User:
    """A user whose password is PASSWORD."""
    found: User = get_user_model().objects.create_user("ada", password=PASSWORD)
    return found


@pytest.fixture
def use_engine(
    settings: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> Callable[[str], None]:
    """A function that selects a session engine: db, file or redis."""

    def use(name: str) -> None:
        settings.SESSION_ENGINE = f"outlast.sessions.{name}"
        settings.SESSION_FILE_PATH = tmp_path / "sessions"
        if name == "redis":
            request.getfixturevalue("use_redis")()

    return use


@pytest.fixture
def copies(redis_server: Topology) -> Copies:
    """The copies of sessions in `redis_server`."""
    return Copies(redis_server)


@pytest.fixture(params=["db", "file", "redis"])
def engine(request: pytest.FixtureRequest, use_engine: Callable[[str], None]) -> str:
    """Run the test on each session engine."""
    use_engine(request.param)
    return str(request.param)


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the library as its wheel installs it, and nothing else."""
    folder = tmp_path_factory.mktemp("packages")
    source = folder / "source"  # a copy: a build must leave nothing in the template
    shutil.copytree(LIBRARY, source, ignore=shutil.ignore_patterns("__pycache__"))
    build = [sys.executable, "-c", f"import uv_build; uv_build.build_wheel({str(folder)!r})"]
    scripts = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    subprocess.run(build, cwd=source, env=os.environ | {"PATH": scripts}, check=True, timeout=120)
    [wheel] = folder.glob("*.whl")
    shutil.unpack_archive(wheel, folder / "site", "zip")
    return folder / "site"


@pytest.fixture
def pages_site(settings: Any) -> Iterator[None]:
    """A site that closes the sockets of ended sessions, as the template's do."""

    def close(session: Any, **kwargs: Any) -> None:
        live.send_to_user(
            session.user_id, {"type": "session.ended", "session": str(session.public_id)}
        )

    settings.CSRF_TRUSTED_ORIGINS = ["https://www.example.com"]
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "outlast.channels.local.LocalLayer"}}
    session_ended.connect(close)
    yield
    session_ended.disconnect(close)


@pytest.fixture
def log_in(user: User) -> Callable[[], Client]:
    """A function that logs the user in with one more browser."""

    def log_in() -> Client:
        client = Client()
        client.force_login(user)
        return client

    return log_in


@pytest.fixture
def logged_in(user: User, client: Client) -> Client:
    """A browser in which `user` is logged in."""
    client.force_login(user)
    assert is_logged_in(client)
    return client


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One real PostgreSQL."""
    with Postgres() as server:
        yield server


@pytest.fixture
def use_postgres(postgres: Postgres) -> Iterator[Callable[..., PostgresLayer]]:
    """A function that makes layers on a database called "pg"."""
    layers = []
    name_database(postgres.port)

    def make(**options: Any) -> PostgresLayer:
        layers.append(PostgresLayer(listen="pg", **options))
        return layers[-1]

    yield make
    for layer in layers:
        layer.disconnect()


@pytest.fixture
def server(settings: Any, transactional_db: None) -> Iterator[Server]:
    """A real server with the library's ASGI handler."""
    with serving(settings) as server:
        yield server
