"""What all channel layers have in common, on real servers."""

import asyncio
import gc
import threading
import time
from contextlib import suppress
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from channels.consumer import AsyncConsumer
from django.db import connections, transaction
from layer_helpers import TOLERANCE, receive, receives_nothing, run
from outlast.channels.local import LIMIT, LocalLayer
from outlast.channels.redis import PubSubLayer

from proof.postgres import find_postgres

needs_postgres = pytest.mark.skipif(not find_postgres(), reason="there is no PostgreSQL here")


@pytest.fixture(params=["local", "redis", pytest.param("postgres", marks=needs_postgres)])
def layers(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """The layer of a process and that of another one; the local layer is both."""
    if request.param == "local":
        layer = LocalLayer(capacity=10)
        return layer, layer
    if request.param == "redis":
        url = request.getfixturevalue("redis_url")
        return PubSubLayer([url], capacity=10), PubSubLayer([url], capacity=10)
    make = request.getfixturevalue("use_postgres")
    return make(capacity=10), make(capacity=10)


# What all layers promise


def test_a_channel_and_a_group_hear_what_is_sent_right_after_joining(
    layers: tuple[Any, Any],
) -> None:
    here, there = layers

    async def scenario() -> None:
        for number in range(20):
            channel = await here.new_channel()
            await there.send(channel, {"type": "to.one", "number": number})
            assert await receive(here, channel) == {"type": "to.one", "number": number}
            await here.group_add(f"group-{number}", channel)
            await there.group_send(f"group-{number}", {"type": "to.all"})
            assert await receive(here, channel) == {"type": "to.all"}

    run(scenario())


def test_a_general_channel_hears_without_having_been_made(layers: tuple[Any, Any]) -> None:
    here, there = layers

    async def scenario() -> None:
        receiving = asyncio.create_task(receive(here, "mail"))
        while not receiving.done():  # it is lost until the layer listens
            await there.send("mail", {"no": "type", 1: b"bytes"})
            await asyncio.sleep(0.1)
        assert await receiving == {"no": "type", 1: b"bytes"}

    run(scenario())


def test_members_get_copies_of_their_own_and_those_who_left_nothing(
    layers: tuple[Any, Any],
) -> None:
    here, there = layers

    async def scenario() -> None:
        one, two, gone = [await here.new_channel() for _ in range(3)]
        for channel in (one, two, gone):
            await here.group_add("group", channel)
        await here.group_discard("group", gone)
        await here.group_discard("another", gone)
        await there.group_send("group", {"type": "x", "list": []})
        first, second = await receive(here, one), await receive(here, two)
        assert first == second
        assert first["list"] is not second["list"]
        assert await receives_nothing(here, gone)
        await here.group_discard("group", one)
        await here.group_discard("group", two)
        assert not here._groups

    run(scenario())


def test_a_receiver_that_is_cancelled_receives_later(layers: tuple[Any, Any]) -> None:
    here, there = layers

    async def scenario() -> None:
        channel = await here.new_channel()
        await here.group_add("group", channel)
        for number in range(3):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(here.receive(channel), 0.1)
            await there.group_send("group", {"number": number})
            assert await receive(here, channel) == {"number": number}

    run(scenario())


@pytest.mark.parametrize("end", ["is cancelled", "fails"])
def test_nothing_is_left_of_a_consumer(
    layers: tuple[Any, Any], end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, _ = layers
    monkeypatch.setattr("channels.consumer.get_channel_layer", lambda alias: here)

    class Consumer(AsyncConsumer):
        async def news(self, message: Any) -> None:
            raise ZeroDivisionError

    async def consume() -> None:
        consumer = Consumer()
        running = asyncio.create_task(consumer({}, asyncio.Event().wait, None))
        while not hasattr(consumer, "channel_receive"):
            await asyncio.sleep(0.01)
        await here.group_add("group", consumer.channel_name)
        if end == "fails":
            await here.send(consumer.channel_name, {"type": "news"})
        else:
            running.cancel()
        await asyncio.wait([running])
        assert running.cancelled() or isinstance(running.exception(), ZeroDivisionError)

    async def scenario() -> None:
        await consume()
        while here._channels or here._groups:
            gc.collect()
            await asyncio.sleep(0.01)

    run(scenario())


def test_order_is_kept_and_a_slow_consumer_misses_the_last(layers: tuple[Any, Any]) -> None:
    here, there = layers

    async def scenario() -> list[int]:
        channel = await here.new_channel()
        await asyncio.gather(*(there.send(channel, {"type": "x", "n": n}) for n in range(30)))
        await asyncio.sleep(0.3)
        heard = [(await receive(here, channel))["n"] for _ in range(10)]
        assert await receives_nothing(here, channel)
        return heard

    assert run(scenario()) == list(range(10))


def test_a_large_message_arrives_and_one_that_is_too_large_is_refused(
    layers: tuple[Any, Any],
) -> None:
    here, there = layers

    async def scenario() -> None:
        channel = await here.new_channel()
        for size in (7_000, 8_000, LIMIT - 100):
            await there.send(channel, {"type": "x", "what": "y" * size})
            assert len((await receive(here, channel))["what"]) == size
        with pytest.raises(ValueError, match="too large"):
            await there.send(channel, {"type": "x", "what": "y" * LIMIT})

    run(scenario())


def test_what_cannot_be_sent_is_the_mistake_of_the_sender(layers: tuple[Any, Any]) -> None:
    here, there = layers

    async def scenario() -> None:
        for name in ("with space", "x" * 100, "ü", 5):
            with pytest.raises(TypeError):
                await there.group_send(name, {"type": "x"})
            with pytest.raises(TypeError):
                await here.send(name, {"type": "x"})
        with pytest.raises(TypeError):
            await there.group_send("group", {"type": "x", "what": object()})
        with pytest.raises(RuntimeError, match="channel"):
            await here.group_add("group", "specific.elsewhere")

    run(scenario())


def test_other_threads_and_their_event_loops_are_heard_at_once(layers: tuple[Any, Any]) -> None:
    here, there = layers

    async def scenario() -> None:
        channel = await here.new_channel()
        for _ in range(20):
            started = time.monotonic()
            send = threading.Thread(
                target=async_to_sync(there.send), args=(channel, {"type": "x"})
            )
            send.start()
            await receive(here, channel)
            assert time.monotonic() - started < TOLERANCE
            send.join()

    run(scenario())


@pytest.mark.django_db(transaction=True)
def test_what_synchronous_code_sends_in_a_transaction_waits_for_its_commit(
    layers: tuple[Any, Any],
) -> None:
    here, there = layers
    log = []

    def work() -> None:
        with suppress(ZeroDivisionError), transaction.atomic():
            async_to_sync(there.group_send)("group", {"type": "rolled back"})
            raise ZeroDivisionError
        with transaction.atomic():
            async_to_sync(there.group_send)("group", {"type": "committed"})
            time.sleep(0.2)
            log.append("commit")
        connections.close_all()

    async def scenario() -> None:
        channel = await here.new_channel()
        await here.group_add("group", channel)
        working = asyncio.create_task(asyncio.to_thread(work))
        assert await receive(here, channel) == {"type": "committed"}
        assert log == ["commit"]
        await working

    run(scenario())


def test_nothing_is_left_of_closed_event_loops(layers: tuple[Any, Any]) -> None:
    here, there = layers

    async def open_one() -> str:
        await here.group_add("group", channel := await here.new_channel())
        return channel

    async def scenario() -> None:
        channel = await here.new_channel()
        await here.group_add("group", channel)
        await there.group_send("group", {"type": "x"})
        await receive(here, channel)
        while len(here._channels) > 1:
            await asyncio.sleep(0.01)

    _kept = run(open_one())
    run(scenario())
