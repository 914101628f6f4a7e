"""Channel layers: what all of them promise, on real servers."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import django
import psycopg
import pytest
from asgiref.sync import async_to_sync
from channels.exceptions import InvalidChannelLayerError
from channels.layers import channel_layers
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, transaction
from outlast.channels.local import LIMIT, PATIENCE, LocalLayer
from outlast.channels.postgres import PostgresLayer
from outlast.channels.redis import PubSubLayer
from outlast.checks import check_listening
from talk import DEADLINE, NOISE, Door, Talk, hear, hears_nothing, run

from proof.pgbouncer import PgBouncer, find_pgbouncer
from proof.postgres import Postgres, find_postgres

needs_postgres = pytest.mark.skipif(not find_postgres(), reason="there is no PostgreSQL here")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
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


def name_database(port: int, name: str = "postgres") -> None:
    server = {"HOST": "127.0.0.1", "PORT": port, "USER": "site", "NAME": name}
    database = {"ENGINE": "django.db.backends.postgresql", **server}
    connections.settings["pg"] = connections.configure_settings(
        {"default": database, "pg": database}
    )["pg"]


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


def state(layer: Any) -> tuple[Any, Any]:
    """Return the channels and the groups of a layer in the running event loop."""
    if isinstance(layer, PubSubLayer):
        return layer.channels, layer.groups
    return layer._channels, layer._groups


# What all layers promise


def test_a_channel_and_a_group_hear_what_is_sent_right_after_joining(
    layers: tuple[Any, Any],
) -> None:
    here, there = layers

    async def scenario() -> None:
        for number in range(20):
            channel = await here.new_channel()
            await there.send(channel, {"type": "to.one", "number": number})
            assert await hear(here, channel) == {"type": "to.one", "number": number}
            await here.group_add(f"group-{number}", channel)
            await there.group_send(f"group-{number}", {"type": "to.all"})
            assert await hear(here, channel) == {"type": "to.all"}

    run(scenario())


def test_a_general_channel_hears_without_having_been_made(layers: tuple[Any, Any]) -> None:
    here, there = layers

    async def scenario() -> None:
        hearing = asyncio.create_task(hear(here, "mail"))
        await asyncio.sleep(0.2)
        await there.send("mail", {"no": "type", 1: b"bytes"})
        assert await hearing == {"no": "type", 1: b"bytes"}

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
        first, second = await hear(here, one), await hear(here, two)
        assert first == second
        assert first["list"] is not second["list"]
        assert await hears_nothing(here, gone)
        await here.group_discard("group", one)
        await here.group_discard("group", two)
        assert not state(here)[1]

    run(scenario())


def test_order_is_kept_and_a_slow_consumer_misses_the_last(layers: tuple[Any, Any]) -> None:
    here, there = layers

    async def scenario() -> list[int]:
        channel = await here.new_channel()
        await asyncio.gather(*(there.send(channel, {"type": "x", "n": n}) for n in range(30)))
        await asyncio.sleep(0.3)
        heard = [(await hear(here, channel))["n"] for _ in range(10)]
        assert await hears_nothing(here, channel)
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
            assert len((await hear(here, channel))["what"]) == size
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
            await hear(here, channel)
            assert time.monotonic() - started < NOISE
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
        assert await hear(here, channel) == {"type": "committed"}
        assert log == ["commit"]
        await working

    run(scenario())


def test_nothing_is_left_of_closed_event_loops(layers: tuple[Any, Any]) -> None:
    here, there = layers

    async def open_one() -> None:
        await here.group_add("group", await here.new_channel())

    async def scenario() -> None:
        channel = await here.new_channel()
        await here.group_add("group", channel)
        await there.group_send("group", {"type": "x"})
        await hear(here, channel)
        while len(state(here)[0]) > 1:
            await asyncio.sleep(0.01)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(here.receive(channel), 0.1)
        assert not state(here)[0]

    run(open_one())
    run(scenario())


# PostgreSQL


@needs_postgres
def test_two_connections_per_process_and_one_to_send(
    use_postgres: Callable[..., PostgresLayer], postgres: Postgres
) -> None:
    layer = use_postgres(prefix="counted")

    def count() -> int:
        of_layers = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'channels'"
        with psycopg.connect(postgres.url()) as connection:
            return int(connection.execute(of_layers).fetchone()[0])

    before = count()
    threads = [
        threading.Thread(target=async_to_sync(layer.send), args=("x", {"type": "x"}))
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count() - before == 1
    run(layer.new_channel())
    assert count() - before == 2
    layer.disconnect()
    deadline = time.monotonic() + DEADLINE
    while count() > before:
        assert time.monotonic() < deadline
        time.sleep(0.05)


# Django 6.1 deprecates the argument, and Django 5.2 needs it to save time.
NOT_SERIALIZED: dict[str, Any] = {} if django.VERSION >= (6, 1) else {"serialize": False}


@needs_postgres
def test_does_not_keep_a_test_database_from_being_dropped(
    use_postgres: Callable[..., PostgresLayer], django_db_blocker: Any
) -> None:
    layer = use_postgres()
    connection = connections["pg"]
    with django_db_blocker.unblock():
        for _ in range(2):
            connection.creation.create_test_db(verbosity=0, autoclobber=True, **NOT_SERIALIZED)
            run(layer.new_channel())
            async_to_sync(layer.send)("x", {"type": "x"})
            assert layer.parameters()["dbname"] == "test_postgres"
            connection.creation.destroy_test_db("postgres", verbosity=0)
        connection.close()


@needs_postgres
def test_what_others_notify_is_passed_over(
    use_postgres: Callable[..., PostgresLayer],
    postgres: Postgres,
    caplog: pytest.LogCaptureFixture,
) -> None:
    layer = use_postgres()

    async def scenario() -> None:
        channel = await layer.new_channel()
        garbage = ["x", "a b c", f"channel {channel} i 0 ü", f"channel {channel} i 0 wQ==",
                   f"channel {channel} i 0 *", f"channel {channel} i x wQ=="]  # fmt: skip
        with psycopg.connect(postgres.url()) as connection:
            for payload in garbage:
                connection.execute("SELECT pg_notify('outlast', %s)", [payload])
        await layer.send(channel, {"type": "sense"})
        assert await hear(layer, channel) == {"type": "sense"}

    run(scenario())
    assert "cannot be used" not in caplog.text


def kill(server: Postgres) -> None:
    server.stop()
    time.sleep(2)
    server.start()


def restart(server: Postgres) -> None:
    server.stop()
    server.start()


def freeze(server: Postgres) -> None:
    server.pause()
    time.sleep(4)
    server.resume()


@needs_postgres
@pytest.mark.slow
@pytest.mark.parametrize("fault", [kill, restart, freeze])
def test_lives_through_an_outage_of_postgresql(
    fault: Callable[[Postgres], None],
    use_postgres: Callable[..., PostgresLayer],
    postgres: Postgres,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> float:
        async with Talk(use_postgres(), use_postgres()) as talk:
            await asyncio.to_thread(fault, postgres)
            await talk.is_heard_within(2 + NOISE)
            opened = time.monotonic()
            await talk.here.new_channel()
            assert time.monotonic() - opened < PATIENCE + NOISE
            return talk.slowest

    assert run(scenario()) < PATIENCE + NOISE
    assert "PostgreSQL cannot be used" in caplog.text
    assert "PostgreSQL can be used again" in caplog.text


@needs_postgres
@pytest.mark.slow
def test_follows_an_address_to_another_server(
    use_postgres: Callable[..., PostgresLayer], postgres: Postgres
) -> None:
    """As after a failover: the old server is silent, and the address leads to the new one."""

    async def scenario(other: Postgres) -> float:
        async with Door(postgres.port) as door:
            name_database(door.port)
            async with Talk(use_postgres(), use_postgres()) as talk:
                door.lead_to(other.port)
                await talk.is_heard_within(2 + NOISE)
                return talk.slowest

    with Postgres() as other:
        assert run(scenario(other)) < PATIENCE + NOISE


@needs_postgres
def test_an_idle_connection_that_was_lost_costs_no_message(
    use_postgres: Callable[..., PostgresLayer], postgres: Postgres
) -> None:
    here, there = use_postgres(), use_postgres()

    async def scenario() -> None:
        channel = await here.new_channel()
        await there.send(channel, {"type": "x"})
        await hear(here, channel)
        await asyncio.to_thread(restart, postgres)
        while not here.connect()._listening.is_set():
            await asyncio.sleep(0.05)
        await there.send(channel, {"type": "y"})
        assert await hear(here, channel) == {"type": "y"}

    run(scenario())


@needs_postgres
def test_senders_do_not_wait_for_a_server_that_is_away(
    use_postgres: Callable[..., PostgresLayer],
) -> None:
    name_database(1)
    layer = use_postgres()

    async def scenario() -> None:
        started = time.monotonic()
        await asyncio.gather(*(layer.group_send("group", {"type": "x"}) for _ in range(300)))
        for _ in range(300):
            await layer.group_send("group", {"type": "x"})
        channel = await layer.new_channel()
        await layer.group_add("group", channel)
        assert time.monotonic() - started < 2 * PATIENCE + NOISE

    run(scenario())


@needs_postgres
@pytest.mark.skipif(not find_pgbouncer(), reason="PgBouncer is not on this machine")
def test_an_address_of_a_connection_pooler_is_named_in_the_log(
    use_postgres: Callable[..., PostgresLayer],
    postgres: Postgres,
    caplog: pytest.LogCaptureFixture,
) -> None:
    run(use_postgres().new_channel())
    assert "DATABASE_LISTEN_URL" not in caplog.text
    with PgBouncer(postgres.port) as pooler:
        name_database(pooler.port)
        run(use_postgres().new_channel())
    assert "leads to a connection pooler" in caplog.text
    assert "DATABASE_LISTEN_URL" in caplog.text


def test_another_database_is_refused_in_a_sentence(settings: Any) -> None:
    settings.CHANNEL_LAYERS = {
        "default": {"BACKEND": "outlast.channels.postgres.PostgresLayer"},
        "strange": {},
    }
    with pytest.raises(ImproperlyConfigured, match=r"needs PostgreSQL, but .* SQLite"):
        async_to_sync(channel_layers["default"].group_send)("group", {"type": "x"})
    with pytest.raises(InvalidChannelLayerError):
        channel_layers["strange"]


@pytest.mark.parametrize(
    ("database", "options", "warned"),
    [
        ({"HOST": "db.example.com", "PORT": 5432}, {}, False),
        ({"HOST": "db.example.com", "PORT": 6432}, {}, True),
        ({"HOST": "ep-x-pooler.eu.neon.tech"}, {}, True),
        ({"PORT": 5432, "DISABLE_SERVER_SIDE_CURSORS": True}, {}, False),
        ({"PORT": 6432}, {"listen": "direct"}, False),
    ],
)
def test_check_warns_of_an_address_of_a_connection_pooler(
    database: dict[str, Any],
    options: dict[str, str],
    warned: bool,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(settings.DATABASES, "default", database)
    monkeypatch.setitem(settings.DATABASES, "direct", {"PORT": 5432})
    layer = {"BACKEND": "outlast.channels.postgres.PostgresLayer", "CONFIG": options}
    settings.CHANNEL_LAYERS = {"default": layer}
    found = check_listening()
    assert bool(found) is warned
    assert all("DATABASE_LISTEN_URL" in message.hint for message in found)
