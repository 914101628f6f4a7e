"""The plugin that starts what the profile under test needs."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from redis import Redis
from redis.sentinel import Sentinel

pytestmark = pytest.mark.slow

SITE = Path(__file__).parents[2]


def test_the_profile_has_servers_of_its_own() -> None:
    if addresses := os.environ.get("REDIS_CLUSTER"):
        client = Redis.from_url(f"redis://{addresses.partition(',')[0]}")
    elif addresses := os.environ.get("REDIS_SENTINELS"):
        sentinel = Sentinel([address.split(":") for address in addresses.split(",")])
        client = sentinel.master_for(os.environ["REDIS_SENTINEL_SERVICE"])
    else:
        client = Redis.from_url(os.environ["REDIS_URL"])
    with client:
        assert client.config_get("dir")["dir"].startswith(os.path.realpath(tempfile.gettempdir()))


def test_a_profile_without_its_servers_fails() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only"],
        cwd=SITE,
        env=os.environ | {"PATH": "", "REDIS_SERVER_KIND": "redis"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 4
    profile = os.environ["DJANGO_PROFILE"]
    assert (
        f"The profile {profile} cannot be tested here. No Redis server is installed" in done.stderr
    )
