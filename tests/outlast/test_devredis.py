"""`manage.py devredis`, as people run it."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from outlast.management.commands.devredis import wanted_topology
from redis import Redis
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.retry import Retry
from redis.sentinel import Sentinel

from tests.servers import reserve_port

COMMAND = [sys.executable, "-m", "django", "devredis"]
HERE = Path(__file__).parent
# A module of settings that differ from those of the project by its one variable.
SETTINGS = """
from project.settings import *
import json, os
CACHES = {"default": {"BACKEND": "outlast.cache.RedisCache", "KEY_PREFIX": "here",
                      **json.loads(os.environ["CACHE"])}}
"""


reserved: list[socket.socket] = []


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr("outlast.health.runner.FRESH_SECONDS", 0)
    (tmp_path / "devredis_settings.py").write_text(SETTINGS)
    yield tmp_path
    while reserved:
        reserved.pop().close()


def variables(folder: Path, cache: str, **more: str) -> dict[str, str]:
    path = os.pathsep.join([str(folder), str(HERE), *sys.path])
    settings = {"DJANGO_SETTINGS_MODULE": "devredis_settings", "DJANGO_COLORS": "nocolor"}
    return os.environ | {"PYTHONPATH": path, "CACHE": cache} | settings | more


def at(url: str) -> str:
    return f'{{"LOCATION": "{url}"}}'


@contextmanager
def running(folder: Path, cache: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Yield the command, and what it says until it waits for Ctrl-C."""
    with subprocess.Popen(
        COMMAND,
        env=variables(folder, cache),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout
            said = ""
            while "Ctrl-C" not in said and (line := process.stdout.readline()):
                said += line
            yield process, said
        finally:
            process.kill()


def once(settings: Any, cache: str) -> str:
    """Run the command in this process; return what it says, and why it fails."""
    named = {"BACKEND": "outlast.cache.RedisCache", "KEY_PREFIX": "here", **json.loads(cache)}
    settings.CACHES = {"default": named}
    said = StringIO()
    try:
        call_command("devredis", stdout=said, no_color=True)
    except CommandError as error:
        return f"{said.getvalue()}CommandError: {error}"
    return said.getvalue()


def free_port() -> int:
    """Return a port that no other test gets; on Linux, a server can still listen at it."""
    reserved.append(reserve_port())
    port = int(reserved[-1].getsockname()[1])
    if sys.platform != "linux":
        reserved.pop().close()
    return port


def shut_down(host: str, port: int) -> None:
    with Redis(host, port, retry=Retry(NoBackoff(), 0)) as client:
        client.shutdown(nosave=True)


def test_one_server_where_the_site_looks_for_it(folder: Path, settings: Any) -> None:
    port = free_port()
    url = f"redis://:s%40cret@localhost:{port}/0"
    with running(folder, at(url)) as (process, said):
        assert f"127.0.0.1:{port}" in said
        assert ".env" not in said
        assert "s@cret" not in said
        assert Redis.from_url(url).ping()
        again = once(settings, at(url))
        assert "Already running: " in again
        assert f"at localhost:{port}" in again
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
        assert (out, err, process.returncode) == ("\nStopped.\n", "", 0)


@pytest.mark.slow
def test_sentinels_where_the_site_looks_for_them(folder: Path) -> None:
    ports = [free_port() for _ in range(3)]
    addresses = [["127.0.0.1", port] for port in ports]
    cache = f'{{"LOCATION": "redis://mymaster/0", "OPTIONS": {{"sentinels": {addresses}}}}}'
    with running(folder, cache.replace("'", '"')) as (process, said):
        assert [said.count(role) for role in ("primary", "replica", "Sentinel")] == [1, 2, 3]
        assert ".env" not in said
        primary = Sentinel([("127.0.0.1", port) for port in ports]).discover_master("mymaster")
        shut_down(*primary)
        assert process.stderr
        assert f"port {primary[1]} exited." in process.stderr.readline()
        assert any(
            "The other servers are still running" in line
            for line in iter(process.stderr.readline, "")
        )
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


@pytest.mark.slow
def test_a_cluster_where_the_site_looks_for_it(folder: Path, settings: Any) -> None:
    ports = [free_port() for _ in range(6)]
    nodes = [f"redis://127.0.0.1:{port}" for port in ports]
    cache = json.dumps({"LOCATION": nodes, "OPTIONS": {"cluster": True}})
    with running(folder, cache) as (process, said):
        assert [said.count(role) for role in ("primary", "replica")] == [3, 3]
        assert ".env" not in said
        with RedisCluster("127.0.0.1", ports[4]) as client:
            assert client.set("a", 1)
            assert {node.port for node in client.get_primaries()} == set(ports[:3])
        again = once(settings, cache)
        assert "Already running: cluster of 6 nodes, state ok" in again
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_another_port_if_the_place_is_taken(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        url = f"redis://127.0.0.1:{other.getsockname()[1]}/0"
        with running(folder, at(url)) as (_, said):
            (line,) = [line.strip() for line in said.splitlines() if "REDIS_URL=" in line]
            assert line != f"REDIS_URL={url}"
            assert Redis.from_url(line.removeprefix("REDIS_URL=")).ping()


@pytest.mark.parametrize(
    "url", ["unix:///no/redis.sock", "redis://ada:secret@127.0.0.1:1/0", "redis://redis.invalid/0"]
)
def test_a_free_port_if_the_settings_name_another_place(url: str, settings) -> None:
    settings.CACHES = {"default": {"BACKEND": "outlast.cache.RedisCache", "LOCATION": url}}
    assert wanted_topology() == {}


def test_a_server_that_ends_is_named(folder: Path) -> None:
    port = free_port()
    with running(folder, at(f"redis://127.0.0.1:{port}/0")) as (process, _):
        shut_down("127.0.0.1", port)
        _, err = process.communicate(timeout=10)
        assert f"CommandError: The server on port {port} exited. Its last output:" in err
        assert process.returncode == 1


def test_no_server_program(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("REDIS_SERVER_KIND", "redis")
    said = once(settings, at(f"redis://127.0.0.1:{free_port()}/0"))
    assert "CommandError: No Redis server is installed: install" in said


def test_settings_without_redis(settings: Any) -> None:
    said = once(settings, '{"BACKEND": "django.core.cache.backends.dummy.DummyCache"}')
    assert said == "The settings do not use Redis: there is nothing to start.\n"
