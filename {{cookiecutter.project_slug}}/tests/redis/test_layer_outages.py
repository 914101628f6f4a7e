"""The channel layer while Redis fails: nobody is thrown out, held up, or left deaf."""

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Self

import pytest
from asgiref.sync import async_to_sync
from outlast.layer import PubSubLayer
from outlast.servers import SERVICE, Topology

from tests.redis.outages import (
    ALONE,
    FAULTS,
    SENTINEL,
    Ear,
    Fault,
    cut,
    host,
    killed,
    outlive,
    speaker,
)

pytestmark = [pytest.mark.slow, pytest.mark.any_redis]

QUICK = (cut, killed)
# A send is given up after 0.3 s; the rest is for a machine that is busy with other tests.
BOUND = 1.0
EVERY_FAULT = [
    pytest.param(fault, id=fault.__name__, marks=[] if fault in QUICK else [pytest.mark.slow])
    for fault in FAULTS
]


@pytest.fixture
def topology() -> Iterator[Topology]:
    with Topology() as topology:
        yield topology


@pytest.fixture
def layer(topology: Topology) -> PubSubLayer:
    return PubSubLayer([host(topology)], "site")


@pytest.mark.parametrize("fault", EVERY_FAULT)
def test_sockets_outlive(fault: Fault, caplog: pytest.LogCaptureFixture) -> None:
    with Topology(**FAULTS[fault]) as topology:
        report = asyncio.run(outlive(topology, fault))
    assert report.open == report.sockets
    assert report.deaf == 0
    assert report.said["errors"] == []
    assert report.said["slowest"] < BOUND
    assert report.opening < BOUND
    lost_and_whole = said_first(caplog)
    # Sentinels need not agree at once about the new primary.
    most = 1 if FAULTS[fault] is ALONE else 3
    assert lost_and_whole in [["Redis", "whole"] * times for times in range(most + 1)]


def said_first(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The word after "Channel layer:" of every line in the log."""
    return [record.getMessage().split()[2] for record in caplog.records]


@pytest.mark.slow
def test_an_idle_socket_lives(layer: PubSubLayer) -> None:
    """redis-py gives up reading after five seconds, and many proxies after ten or so."""

    async def scenario() -> None:
        ear = await Ear.open(layer, "group")
        await asyncio.sleep(16)
        moment = time.time()
        await layer.group_send("group", {"type": "x", "at": moment + 1})
        assert await ear.hears_what_is_said_after(moment, 1)

    asyncio.run(scenario())


def test_redis_may_come_later(
    topology: Topology, layer: PubSubLayer, caplog: pytest.LogCaptureFixture
) -> None:
    topology.primary.kill()

    async def scenario() -> None:
        ear = await Ear.open(layer, "group")
        async with speaker(topology, "group"):
            await asyncio.sleep(0.5)
            topology.primary.start()
            assert await ear.hears_what_is_said_after(time.time())

    asyncio.run(scenario())
    assert said_first(caplog) == ["Redis", "whole"]


def test_a_hung_redis_costs_one_wait_however_many_send(
    topology: Topology, layer: PubSubLayer
) -> None:
    topology.primary.pause()

    async def send() -> float:
        started = time.perf_counter()
        await layer.group_send("group", {"type": "x"})
        return time.perf_counter() - started

    async def scenario() -> None:
        together = await asyncio.gather(*(send() for _ in range(300)))
        assert max(together) < BOUND
        one_by_one = [await send() for _ in range(300)]
        assert sum(one_by_one) < BOUND

    asyncio.run(scenario())


def test_a_hung_redis_does_not_hold_up_threads(topology: Topology, layer: PubSubLayer) -> None:
    """Outside ASGI every send has an event loop of its own, and all share what they know."""
    topology.primary.pause()
    spent = []

    def work() -> None:
        started = time.perf_counter()
        for _ in range(20):
            async_to_sync(layer.group_send)("group", {"type": "x"})
        spent.append(time.perf_counter() - started)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(spent) == 4
    assert max(spent) < 2 * BOUND  # and not twenty times 0.3 s


def test_synchronous_code_is_heard_again(topology: Topology, layer: PubSubLayer) -> None:
    send = async_to_sync(layer.group_send)
    topology.primary.kill()
    send("group", {"type": "x", "at": 0})
    topology.primary.start()

    async def scenario() -> bool:
        ear = await Ear.open(PubSubLayer([host(topology)], "site"), "group")

        def talk() -> None:
            for _ in range(13):
                send("group", {"type": "x", "at": time.time()})
                time.sleep(0.1)

        await asyncio.to_thread(talk)
        return bool(ear.heard)

    assert asyncio.run(scenario())


def test_nothing_said_is_in_the_log(
    topology: Topology, layer: PubSubLayer, caplog: pytest.LogCaptureFixture
) -> None:
    """redis-py repeats the command, and with it the message, in some of its errors."""
    topology.primary.client().execute_command("ACL", "SETUSER", "default", "-publish")
    asyncio.run(layer.group_send("group", {"type": "x", "text": "for your eyes only"}))
    assert "cannot be used" in caplog.text
    assert "eyes" not in caplog.text


@pytest.mark.slow
def test_a_moment_of_being_busy_ourselves_is_no_outage(
    layer: PubSubLayer, caplog: pytest.LogCaptureFixture
) -> None:
    """An event loop that was held up for seconds finds what Redis said meanwhile."""

    async def scenario() -> None:
        ear = await Ear.open(layer, "group")
        await layer.group_send("group", {"type": "x", "at": 1})
        time.sleep(3)
        assert await ear.hears_what_is_said_after(0)
        await asyncio.sleep(1.5)

    asyncio.run(scenario())
    assert not caplog.records


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2])
def test_sentinels_may_hang(number: int) -> None:
    """Sending goes on while the Sentinels asked first do not answer."""
    with Topology(**SENTINEL) as topology:
        for sentinel in topology.sentinels[:number]:
            sentinel.pause()
        layer = PubSubLayer([host(topology)], "site")

        async def scenario() -> None:
            ear = await Ear.open(layer, "group")
            async with speaker(topology, "group") as said:
                assert await ear.hears_what_is_said_after(time.time())
                await asyncio.sleep(3)
            assert said["slowest"] < BOUND
            silent, _ = ear.silence(0)
            assert silent < BOUND

        asyncio.run(scenario())


def test_follows_sentinel_from_a_server_that_is_well() -> None:
    """Nothing but Sentinel's word tells a former primary from the primary."""
    with Topology(sentinels=1) as topology, Topology() as other:
        sentinel = topology.sentinels[0].client()

        async def scenario() -> None:
            ear = await Ear.open(PubSubLayer([host(topology)], "site"), "group")
            async with speaker(topology, "group"):
                assert await ear.hears_what_is_said_after(0)
                sentinel.execute_command("SENTINEL", "REMOVE", SERVICE)
                sentinel.execute_command(
                    "SENTINEL", "MONITOR", SERVICE, "127.0.0.1", other.primary.port, 1
                )
                async with asyncio.timeout(5):
                    while topology.servers[0].client().pubsub_channels("site:*"):
                        await asyncio.sleep(0.05)
                assert await ear.hears_what_is_said_after(time.time())

        asyncio.run(scenario())


class Door:
    """A way to a server on which connections can get stuck without being closed."""

    def __init__(self, port: int) -> None:
        self.port, self._behind = 0, port
        self._passing: list[asyncio.Task[None]] = []
        self._ends: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1")
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self._behind)
        self._ends += [writer, other_writer]
        for source, target in ((reader, other_writer), (other_reader, writer)):
            self._passing.append(asyncio.create_task(self._pass_on(source, target)))

    async def _pass_on(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            target.write(data)

    def get_stuck(self) -> None:
        """Pass on nothing more of what is connected now."""
        for task in self._passing:
            task.cancel()

    async def __aexit__(self, *exception: object) -> None:
        self.get_stuck()
        for end in self._ends:
            end.close()
        self._server.close()


def test_leaves_a_connection_that_leads_nowhere(topology: Topology) -> None:
    """As when the machine of Redis is switched off and another takes its address."""

    async def scenario() -> None:
        async with Door(topology.primary.port) as door:
            layer = PubSubLayer([f"redis://127.0.0.1:{door.port}"], "site")
            ear = await Ear.open(layer, "group")
            async with speaker(topology, "group"):
                assert await ear.hears_what_is_said_after(0)
                door.get_stuck()
                assert await ear.hears_what_is_said_after(time.time())
            await layer.flush()

    asyncio.run(scenario())
