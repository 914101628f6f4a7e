"""The cache's client: one for all threads, over TCP, TLS, Unix sockets and Sentinel."""

import asyncio
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import outlast
import pytest
from caches import make_cache, make_cache_at
from layer_helpers import Proxy, receive, run
from outlast.addresses import read_address
from outlast.cache import RedisCache, Unavailable
from outlast.channels.redis import PubSubLayer
from outlast.health.errors import read_redis_address
from outlast.health.redis import find_primary
from outlast.redis import Client, make_client
from tls import make_certificates, speak_tls

from tests.servers import SERVICE, Topology, quoted

LIBRARY = Path(outlast.__file__).parents[1]


def opened(backend: Topology) -> int:
    """How many connections the server has ever been asked for."""
    return backend.primary.client().info("stats")["total_connections_received"]


def test_one_client_whatever_thread_or_loop_asks(backend: Topology, cache: RedisCache) -> None:
    cache.set("k", 1)
    before = opened(backend)
    found = []

    def request() -> None:
        found.append(make_cache(backend).get("k"))

    for _ in range(40):
        thread = threading.Thread(target=request)
        thread.start()
        thread.join()
    for _ in range(5):
        assert asyncio.run(make_cache(backend).aget("k")) == 1
    assert found == [1] * 40
    assert opened(backend) - before <= 1  # that of opened() itself


def test_many_threads_release_their_connections(backend: Topology, cache: RedisCache) -> None:
    together = threading.Barrier(20)

    def request() -> None:
        together.wait()
        for _ in range(20):
            make_cache(backend).get("k")

    before = opened(backend)
    for _ in range(3):
        threads = [threading.Thread(target=request) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert opened(backend) - before <= 21


def test_hiredis_reads_and_packs(cache: RedisCache) -> None:
    cache.get("k")
    connection = cache.client.connection_pool.get_connection()
    names = (type(connection._parser).__name__, type(connection._command_packer).__name__)
    cache.client.connection_pool.release(connection)
    assert names == ("_HiredisParser", "HiredisRespSerializer")


FORK = """
import os, sys
import django.conf
django.conf.settings.configure(SECRET_KEY='x')
from outlast.cache import RedisCache
cache = RedisCache(sys.argv[1], {})
cache.set("k", 1)
mine = cache.client.client_id()
child = os.fork()
if not child:
    os._exit(0 if cache.get("k") == 1 and cache.client.client_id() != mine else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert cache.client.client_id() == mine
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows does not fork")
def test_a_forked_process_has_a_client_of_its_own(backend: Topology) -> None:
    url = backend.environment()["REDIS_URL"]
    command = [sys.executable, "-c", FORK, url]
    subprocess.run(command, cwd=LIBRARY, check=True, timeout=30)


@pytest.mark.skipif(sys.platform == "win32", reason="no Redis listens to a file on Windows")
def test_unix_socket() -> None:
    with tempfile.TemporaryDirectory(prefix="r ") as folder:  # tmp_path is too long for a socket
        path = f"{folder}/redis"
        with Topology(lines=[f"unixsocket {quoted(path)}"]) as topology:
            cache = make_cache_at(f"unix://{path}?db=3")
            cache.set("k", 1)
            assert cache.get("k") == 1
            assert topology.primary.client(db=3).get("site:1:k") == "1"
            topology.primary.kill()
            assert cache.get("k") is None
            with pytest.raises(Unavailable, match=path):
                cache.strict.get("k")


@pytest.fixture
def encrypted(tmp_path: Path) -> Iterator[int]:
    """The port of a server behind TLS, with a certificate of its own authority."""
    with Topology(password="s@cret") as topology:
        yield speak_tls(topology.primary.port, make_certificates(tmp_path))


def test_tls(encrypted: int, tmp_path: Path) -> None:
    url = f"rediss://:s%40cret@127.0.0.1:{encrypted}/0"
    cache = make_cache_at(f"{url}?ssl_ca_certs={tmp_path / 'ca.pem'}")
    cache.set("k", 1)
    assert cache.get("k") == 1
    with pytest.raises(Unavailable, match="certificate verify failed") as caught:
        make_cache_at(url).strict.get("k")
    assert "s@cret" not in str(caught.value)


def test_tls_to_the_primary_that_sentinels_name(encrypted: int, tmp_path: Path) -> None:
    def client_of(url: str) -> Client:
        options = {"sentinels": [("127.0.0.1", 1)], "password": "s@cret"}
        client = make_client(read_address(url, options), "canary")
        sentinels = client.connection_pool.sentinel_manager
        sentinels.primary, sentinels.ask_at = ("127.0.0.1", encrypted), time.monotonic() + 60
        return client

    client = client_of(f"rediss://mymaster/0?ssl_ca_certs={tmp_path / 'ca.pem'}")
    client.set("k", 1)
    assert client.get("k") == b"1"
    with pytest.raises(Unavailable, match="certificate verify failed"):
        client_of("rediss://mymaster/0").get("k")


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 3])
def test_a_single_sentinel_may_be_slow(count: int, settings: Any) -> None:
    """Only this Sentinel knows the primary, and on a busy machine it may answer after 0.1 s."""

    async def first_message(sentinels: Any) -> Any:
        layer = PubSubLayer([{"sentinels": sentinels, "master_name": SERVICE}])
        channel = await layer.new_channel()
        await layer.group_add("group", channel)
        await layer.group_send("group", {"type": "first"})
        message = await receive(layer, channel)
        await layer.flush()
        return message

    async def ask(servers: Topology) -> Any:
        async with AsyncExitStack() as stack:
            proxies = [Proxy(each.port, delay=0.12) for each in servers.sentinels]
            for each in proxies:
                await stack.enter_async_context(each)
            sentinels = [("127.0.0.1", each.port) for each in proxies]
            url, options = f"redis://{SERVICE}/0", {"sentinels": sentinels}
            if count == 1:
                assert await first_message(sentinels)
                backend = {"BACKEND": "outlast.cache.RedisCache", "LOCATION": url}
                settings.CACHES = {"default": {**backend, "OPTIONS": options}}
                assert await asyncio.to_thread(find_primary, read_redis_address())
            client = make_client(read_address(url, options), "canary")
            return await asyncio.to_thread(client.set, "k", "kept")

    with Topology(sentinels=count) as servers:
        if count == 1:
            assert run(ask(servers))
        else:
            with pytest.raises(Unavailable, match="No master found"):
                run(ask(servers))
