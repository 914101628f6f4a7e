"""`manage.py devredis`, as people run it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from outlast.advice import TroubleError
from outlast.management.commands import devredis
from outlast.servers import ServerError, Topology
from outlast.servers.process import reserve_port
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

pytestmark = [pytest.mark.slow, pytest.mark.any_redis]

SITE = Path(__file__).parents[2]


def variables(profile: str, **more: str) -> dict[str, str]:
    return os.environ | {"DJANGO_PROFILE": profile, "DJANGO_COLORS": "nocolor"} | more


def free_port() -> int:
    with reserve_port() as reserved:
        return int(reserved.getsockname()[1])


@contextmanager
def running(profile: str, **more: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command and what it says until it waits for Ctrl-C."""
    with subprocess.Popen(
        [sys.executable, "manage.py", "devredis"],
        cwd=SITE,
        env=variables(profile, **more),
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


def once(*arguments: str, profile: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", "devredis", *arguments],
        cwd=SITE,
        env=variables(profile, **more),
        capture_output=True,
        text=True,
    )


def shut_down(host: str, port: int) -> None:
    with Redis(host, port, retry=Retry(NoBackoff(), 0)) as client:
        client.shutdown(nosave=True)


def test_one_server_where_the_site_looks_for_it() -> None:
    port = free_port()
    url = f"redis://:s%40cret@localhost:{port}/0"
    with running("redis", REDIS_URL=url) as (process, said):
        assert ".env may stay as it is" in said
        assert "s@cret" not in said
        assert Redis.from_url(url).ping()
        check = once("--check", profile="redis", REDIS_URL=url)
        assert f"at localhost:{port}" in check.stdout
        assert check.returncode == 0
        again = once(profile="redis", REDIS_URL=url)
        assert f"at localhost:{port} already: nothing to start." in again.stdout
        assert again.returncode == 0
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
        assert (out, err, process.returncode) == ("\nStopped.\n", "", 0)
    check = once("--check", profile="redis", REDIS_URL=url)
    assert f"service   Nothing listens at localhost:{port}" in check.stdout
    assert "To start it: python manage.py devredis" in check.stdout
    assert check.returncode == 0


def test_sentinels_where_the_site_looks_for_them() -> None:
    ports = [free_port() for _ in range(3)]
    addresses = ",".join(f"127.0.0.1:{port}" for port in ports)
    with running("redis-sentinel", REDIS_SENTINELS=addresses) as (process, said):
        assert [said.count(role) for role in ("primary", "replica", "Sentinel")] == [1, 2, 3]
        assert ".env may stay as it is" in said
        primary = Sentinel([("127.0.0.1", port) for port in ports]).discover_master("mymaster")
        shut_down(*primary)
        assert process.stderr
        assert f"port {primary[1]} ended by itself" in process.stderr.readline()
        assert any("The others go on" in line for line in iter(process.stderr.readline, ""))
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_elsewhere_if_the_place_is_taken_by_something_else() -> None:
    with reserve_port() as somebody:
        somebody.listen()
        url = f"redis://127.0.0.1:{somebody.getsockname()[1]}/0"
        with running("redis", REDIS_URL=url) as (_, said):
            assert ".env has to say" in said
            (line,) = [line.strip() for line in said.splitlines() if "REDIS_URL=" in line]
            assert line != f"REDIS_URL={url}"
            assert Redis.from_url(line.removeprefix("REDIS_URL=")).ping()


@pytest.mark.parametrize(
    "url",
    [
        "unix:///nowhere/redis.sock",
        "redis://somebody:secret@127.0.0.1:6379/0",
        "redis://redis.invalid/0",
    ],
)
def test_elsewhere_if_the_place_is_not_for_us(url: str) -> None:
    with running("redis", REDIS_URL=url) as (_, said):
        assert "  REDIS_URL=redis://127.0.0.1:" in said


def test_a_server_that_ends_is_named() -> None:
    port = free_port()
    with running("redis", REDIS_URL=f"redis://127.0.0.1:{port}/0") as (process, _):
        shut_down("127.0.0.1", port)
        _, err = process.communicate(timeout=10)
        assert f"CommandError: The server on port {port} ended by itself, saying:" in err
        assert process.returncode == 1


def test_nothing_to_start_it_with() -> None:
    nothing = {"PATH": "", "REDIS_SERVER_KIND": "redis", "profile": "redis"}
    for arguments in [], ["--check"]:
        done = once(*arguments, REDIS_URL=f"redis://127.0.0.1:{free_port()}/0", **nothing)
        assert "CommandError: No Redis server is on this machine: install" in done.stderr
        assert done.returncode == 1
    assert "program   none on this machine" in done.stdout
    with Topology() as topology:
        done = once("--check", **topology.environment(), **nothing)
        assert (done.returncode, done.stderr) == (0, "")


def test_windows(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    def find_nothing(kind: str | None = None) -> None:
        raise ServerError("No server.")

    def find_no_answer() -> None:
        raise TroubleError("It is not there.")

    settings.PROFILE = "redis"
    monkeypatch.setattr(devredis, "primary", find_no_answer)
    monkeypatch.setattr(devredis, "sys", SimpleNamespace(platform="win32"))
    monkeypatch.setattr(devredis.servers, "find_server", find_nothing)
    with pytest.raises(CommandError) as error:
        call_command("devredis", "--check")
    said = str(error.value)
    assert said.startswith("No server.\n\nThe ways to one on Windows, the easiest first:")
    ways = ["Docker Desktop", "WSL 2", "Memurai", "REDIS_URL=", "Sentinels", "DJANGO_PROFILE=data"]
    assert sorted(ways, key=said.index) == ways
