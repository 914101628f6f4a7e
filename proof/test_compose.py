"""compose.yaml and Dockerfile without Docker: the same commands, files and variables.

No container is started here. Each Redis and Sentinel runs by its command in compose.yaml, and the
site by the Dockerfile's command with the variables of compose.yaml. Only ports, paths and the
relational database differ.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from proof.compose import SLUG, Compose
from proof.site import Site, wait_for


@pytest.fixture(scope="module")
def compose(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    folder = tmp_path_factory.mktemp("compose")
    compose = Compose(Site(folder, "database", {}), folder)
    yield compose
    for name in list(compose.processes):
        compose.kill(name)


def test_it_is_a_compose_file(compose: Compose) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    file = compose.site.folder / "compose.yaml"
    done = subprocess.run([*command, file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    ports = [port for service in compose.services.values() for port in service.get("ports", [])]
    assert len(ports) == 3
    assert all(port.startswith("127.0.0.1:") for port in ports), "open to the network"
    for name, service in compose.services.items():
        if name not in ("pod", "db"):
            assert service["cap_drop"] == ["ALL"] and service["read_only"], name


def test_every_secret_is_made_and_none_is_in_the_file(compose: Compose) -> None:
    text = (compose.site.folder / "compose.yaml").read_text("utf-8")
    declared = yaml.safe_load(text)["secrets"]
    made = {path.name for path in compose.secrets.iterdir()}
    assert declared.keys() == made
    assert {Path(each["file"]).name for each in declared.values()} == made
    used = {name for service in compose.services.values() for name in service.get("secrets", [])}
    assert used == made
    assert not any(compose.secret(name) in text for name in made)
    before = {name: compose.secret(name) for name in made}
    subprocess.run([sys.executable, compose.site.folder / "deploy/make_secrets.py"], check=True)
    assert before == {name: compose.secret(name) for name in made}, "people would be logged out"


def test_the_image_starts_what_the_proofs_start(compose: Compose) -> None:
    dockerfile = (compose.site.folder / "Dockerfile").read_text("utf-8")
    (command,) = re.findall(r"^CMD (\[.*\])$", dockerfile, re.MULTILINE)
    assert json.loads(command)[1:3] == compose.site.serve_command(1)[1:3]
    assert re.search(r"^USER site$", dockerfile, re.MULTILINE)
    assert "http://127.0.0.1:8000/healthz" in dockerfile
    ignored = (compose.site.folder / ".dockerignore").read_text().splitlines()
    assert {".env", "var", ".git"} <= set(ignored)


def test_the_image_can_be_read_by_the_user_who_runs_it(compose: Compose, tmp_path: Path) -> None:
    """By the build's own command, as Docker runs it: what root makes is private, as `var` is."""
    image = tmp_path / "site"
    ignored = shutil.ignore_patterns("var", ".env", ".venv", "__pycache__")
    shutil.copytree(compose.site.folder, image, ignore=ignored)
    (image / "manage.py").chmod(0o600)  # as a checkout under a strict umask
    dockerfile = (image / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
    (command,) = re.findall(r"^RUN (.* collectstatic .*)$", dockerfile, re.MULTILINE)
    command = command.replace("/venv/bin/python", shlex.quote(sys.executable))
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": "vendor/django-outlast/src"}
    subprocess.run(["sh", "-c", command], cwd=image, env=environment, check=True, timeout=60)
    assert (image / "var" / "static" / "staticfiles.json").is_file()
    for path in (image, *image.rglob("*")):
        wanted = 0o005 if path.is_dir() else 0o004
        assert path.stat().st_mode & wanted == wanted, path


def test_redis_by_its_own_commands(compose: Compose) -> None:
    compose.start("redis-1")
    wait_for(lambda: compose.healthy("redis-1"), "redis-1")
    with pytest.raises(AuthenticationError), compose.redis("redis-1", "default", "x") as stranger:
        stranger.ping()
    with compose.redis("redis-1", "site", compose.secret("redis_password")) as site:
        site.set(f"{SLUG}:1:a", 1, ex=60)
        for command in (["SET", "elsewhere:a", 1], ["PUBLISH", "elsewhere", 1], ["FLUSHALL"],
                        ["KEYS", "*"], ["CONFIG", "GET", "*"], ["ACL", "LIST"]):  # fmt: skip
            with pytest.raises(NoPermissionError):
                site.execute_command(*command)
    variables = compose.variables("site-redis")
    compose.site.variables |= variables
    done = compose.site.run("doctor")
    assert (done.returncode, done.stdout.splitlines()[-1][:4]) == (0, "All "), done.stdout
    compose.kill("redis-1")
    assert not compose.healthy("redis-1")
    for name in variables:
        del compose.site.variables[name]


@pytest.mark.parametrize(
    ("profile", "data", "watchers"),
    [("redis-sentinel", "redis-", "sentinel-"), ("redis-cluster", "node-", "none")],
)
def test_failover_by_its_own_commands(
    compose: Compose, profile: str, data: str, watchers: str
) -> None:
    for name in list(compose.processes):  # of another profile, on the same ports
        compose.kill(name)
    nodes = [name for name in compose.services if name.startswith((data, watchers))]
    assert len(nodes) == 6
    for name in nodes:
        compose.start(name)
    wait_for(lambda: all(map(compose.healthy, nodes)), "all six")
    nodes = [name for name in nodes if name.startswith(data)]
    compose.site.variables |= compose.variables(f"site-{profile}")
    admin = compose.secret("redis_admin_password")

    def primaries() -> list[str]:
        found = []
        for name in nodes:
            with compose.redis(name, "admin", admin) as client, suppress(RedisError):
                found += [name] if client.info("replication")["role"] == "master" else []
        return found

    def is_healthy() -> bool:
        return "All " in compose.site.run("doctor").stdout

    wait_for(is_healthy, "a healthy site", 60)
    with compose.site.running(workers=2), compose.site.browser() as ada:
        ada.log_in()
        old, *others = primaries()
        compose.kill(old)
        # Sentinels on a busy machine do nothing for 30 s ("TILT").
        wait_for(lambda: len(primaries()) > len(others), "a failover", 90)
        assert ada.logged_in
        # The container comes back by the same command, and must not be a second primary.
        compose.start(old)
        if profile == "redis-sentinel":
            with pytest.raises(AuthenticationError), compose.redis("sentinel-1", None, None) as x:
                x.ping()
            compose.kill("sentinel-1")
            compose.start("sentinel-1")
        wait_for(is_healthy, "a healthy site again", 60)
        assert old not in primaries() and len(primaries()) == len(others) + 1
        assert ada.logged_in
        ada.log_out()
        assert not ada.logged_in
    for name in nodes:
        with compose.redis(name, "admin", admin) as client:
            log = client.acl_log()
        # redis-py says its name and version, and goes on when that is refused.
        refused = {entry["object"] for entry in log if entry["username"] == "site"}
        assert refused <= {"client|setinfo"}, "the user of the site lacks a right"


def test_a_password_that_would_break_the_configuration(compose: Compose, tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    shutil.copytree(compose.secrets, folder)
    (folder / "redis_password").write_text('x" allkeys')
    environment = {"PATH": os.environ["PATH"], "REDIS_PREFIX": SLUG, "DATA": str(tmp_path)}
    done = subprocess.run(
        ["sh", compose.site.folder / "deploy" / "redis-node.sh", "redis", "1", "1"],
        env=environment | {"SECRETS": str(folder)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "redis_password may only contain letters, digits" in done.stderr
