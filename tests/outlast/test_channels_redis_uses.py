"""The channel layer on Redis: keys, connections, logins and TLS."""

import asyncio
import operator
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import transaction
from layer_helpers import Proxy, make_layer, receive, receives_nothing, run
from outlast.channels.redis import PubSubLayer
from tls import make_certificates, speak_tls

from tests.servers import Topology, wait_until


def test_two_sites_on_one_redis_are_separate(redis_server: Topology) -> None:
    """Pub/sub ignores database numbers. The sites "a" and "ab" must be separate, too."""

    async def scenario() -> None:
        client = redis_server.primary.client()
        before = set(client.pubsub_channels())  # of other tests
        ours, theirs = make_layer(redis_server, "a"), make_layer(redis_server, "ab")
        channel, foreign = await ours.new_channel(), await theirs.new_channel()
        await ours.group_add("group", channel)
        await theirs.group_add("group", foreign)
        listening = asyncio.create_task(theirs.receive("mail"))
        await asyncio.sleep(0.1)
        names = set(client.pubsub_channels()) - before
        assert all(name.startswith(("a:", "ab:")) for name in names), names
        await ours.group_send("group", {"type": "ours"})
        await ours.send("mail", {"type": "ours"})
        await ours.send(foreign, {"type": "ours"})
        assert await receive(ours, channel) == {"type": "ours"}
        assert await receives_nothing(theirs, foreign)
        assert not listening.done()
        listening.cancel()

    run(scenario())


GARBAGE = [b"", b"\xc1", b"\x81\xa4type", b"cos\nsystem\n(S'true'\ntR.", b"\x91" * 2000, b" \xff "]


@pytest.mark.parametrize("garbage", GARBAGE)
def test_garbage_is_passed_over(garbage: bytes, redis_server: Topology) -> None:
    """Everyone with access to Redis can publish: no socket may end because of that."""

    async def scenario() -> None:
        layer = make_layer(redis_server)
        channel = await layer.new_channel()
        for message in (garbage, f"{channel} ".encode() + garbage):
            redis_server.primary.client().publish("site:", message)
        await layer.send(channel, {"type": "sense"})
        assert await receive(layer, channel) == {"type": "sense"}

    run(scenario())


def test_it_listens_later_if_no_thread_could_start(
    redis_server: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Containers limit the number of threads."""
    layer, start = make_layer(redis_server), threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "channels":
            raise RuntimeError("can't start new thread")
        start(thread)

    async def scenario() -> None:
        with monkeypatch.context() as patch, pytest.raises(RuntimeError):
            patch.setattr(threading.Thread, "start", refuse)
            channel = await layer.new_channel()
            await layer.receive(channel)
        channel = await layer.new_channel()
        await layer.send(channel, {"type": "sense"})
        assert await receive(layer, channel) == {"type": "sense"}
        await layer.flush()

    run(scenario())


@pytest.mark.parametrize("sentinels", [0, 1])
def test_synchronous_code_leaves_nothing_behind(sentinels: int) -> None:
    """It has an event loop of its own for each message."""
    with Topology(sentinels=sentinels) as topology:
        layer = make_layer(topology)

        def open_things() -> tuple[int, ...]:
            servers = topology.servers + topology.sentinels
            connections = [s.client().info("clients")["connected_clients"] for s in servers]
            return (*connections, threading.active_count())

        async_to_sync(layer.group_send)("group", {"type": "x"})
        before = open_things()
        for _ in range(50):
            async_to_sync(layer.group_send)("group", {"type": "x"})
        wait_until(lambda: all(map(operator.le, open_things(), before)), "all to be closed")


# Logging in


def send_and_receive(layer: PubSubLayer) -> None:
    """Send until something is heard: on a busy machine, connecting may take too long for one."""

    async def scenario() -> None:
        channel = await layer.new_channel()
        heard = asyncio.create_task(receive(layer, channel))
        while not heard.done():
            await layer.send(channel, {"type": "x"})
            await asyncio.wait([heard], timeout=0.5)
        await heard

    run(scenario())


@pytest.mark.parametrize(
    "login",
    [
        {"password": "it's & secret"},
        {"sentinels": 1, "password": "secret", "sentinel_password": "other"},
    ],
    ids=["password", "Sentinels with a password"],
)
def test_logs_in(login: dict[str, Any]) -> None:
    with Topology(**login) as topology:
        send_and_receive(make_layer(topology))


def test_a_user_who_may_use_the_sites_channels_only() -> None:
    with Topology(lines=["user site on >secret ~site:* &site:* +@all"]) as topology:
        url = f"redis://site:secret@127.0.0.1:{topology.primary.port}/0"
        send_and_receive(PubSubLayer([url], "site"))


def test_speaks_tls(redis_server: Topology, tmp_path: Path) -> None:
    port = speak_tls(redis_server.primary.port, make_certificates(tmp_path))
    url = f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={tmp_path / 'ca.pem'}"
    send_and_receive(PubSubLayer([url], "site"))


def test_speaks_through_a_socket_in_the_file_system() -> None:
    # In the folder of the server, since a path of pytest's is longer than sockets may have.
    with Topology(lines=["unixsocket socket"]) as topology:
        url = f"unix://{topology.primary.folder}/socket?db=3"
        send_and_receive(PubSubLayer([url], "site"))


def test_messages_are_not_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """redis-py repeats the command, and with it the message, in some of its errors."""
    with Topology() as topology:
        topology.primary.client().execute_command("ACL", "SETUSER", "default", "-publish")
        layer = make_layer(topology)
        run(layer.group_send("group", {"type": "x", "text": "for your eyes only"}))
    assert "cannot be used" in caplog.text
    assert "eyes" not in caplog.text


def test_the_limit_counts_from_the_first_connection() -> None:
    """While the connection is slow, the sender goes on; the message is sent later."""

    async def scenario(topology: Topology) -> None:
        here = make_layer(topology)
        channel = await here.new_channel()
        await here.group_add("group", channel)
        async with Proxy(topology.primary.port) as proxy:
            proxy.passes.clear()
            address = f"redis://:{topology.password}@127.0.0.1:{proxy.port}/1?socket_timeout=5"
            receiving = asyncio.create_task(receive(here, channel))
            await PubSubLayer([address], "site").group_send("group", {"type": "late"})
            assert not receiving.done()
            proxy.passes.set()
            await receiving

    with Topology(password="secret") as topology:
        run(scenario(topology))


def test_options_of_channels_redis_are_accepted(redis_url: str) -> None:
    unused = {"expiry": 60, "group_expiry": 60, "channel_capacity": {}, "on_disconnect": None}
    assert PubSubLayer([redis_url], "site", capacity=5, **unused).capacity == 5
    with pytest.raises(TypeError, match="capasity"):
        PubSubLayer([redis_url], "site", capasity=5)


def test_encrypted_messages_are_for_those_with_the_key(redis_url: str) -> None:
    keys = {"symmetric_encryption_keys": ["the key"]}
    ours, other = PubSubLayer([redis_url], "site", **keys), PubSubLayer([redis_url], "site")

    async def scenario() -> None:
        channel = await ours.new_channel()
        await other.send(channel, {"type": "plain"})
        await PubSubLayer([redis_url], "site", **keys).send(channel, {"type": "secret"})
        assert await receive(ours, channel) == {"type": "secret"}

    run(scenario())


FORK = """
import asyncio, os, sys
from outlast.channels.redis import PubSubLayer

async def exchange():
    channel = await layer.new_channel()
    await layer.send(channel, {"type": "x"})
    return await asyncio.wait_for(layer.receive(channel), 5)

layer = PubSubLayer([sys.argv[1]], "fork")
asyncio.run(exchange())
child = os.fork()
asyncio.run(exchange())
if child:
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows does not fork")
def test_a_forked_process_has_threads_of_its_own(redis_url: str) -> None:
    command = [sys.executable, "-W", "ignore", "-c", FORK, redis_url]
    path = {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run(command, env=os.environ | path, check=True, timeout=30)


@pytest.mark.django_db(transaction=True)
def test_a_failure_to_send_after_a_commit_spares_other_callbacks(
    redis_server: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> Any:
        raise RuntimeError

    layer = make_layer(redis_server)
    monkeypatch.setattr(layer, "_publish", fail)
    called: list[str] = []
    with transaction.atomic():
        async_to_sync(layer.group_send)("group", {"type": "lost"})
        transaction.on_commit(lambda: called.append("other"))
    assert called == ["other"]
