"""The channel layer on PostgreSQL: its connections, outages, and connection poolers."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import django
import psycopg
import pytest
from asgiref.sync import async_to_sync
from channels.exceptions import InvalidChannelLayerError
from channels.layers import channel_layers
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from layer_helpers import SEND_TIMEOUT, TOLERANCE, Proxy, Traffic, name_database, receive, run
from outlast.channels.postgres import PostgresLayer
from outlast.checks import check_listening

from proof.pgbouncer import PgBouncer, find_pgbouncer
from proof.postgres import Postgres, find_postgres
from tests.servers import wait_until

needs_postgres = pytest.mark.skipif(not find_postgres(), reason="there is no PostgreSQL here")


@needs_postgres
def test_one_connection_per_process(
    use_postgres: Callable[..., PostgresLayer], postgres: Postgres
) -> None:
    layer = use_postgres(prefix="counted")

    def count() -> int:
        of_layers = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'channels'"
        with psycopg.connect(postgres.url()) as connection:
            return int(connection.execute(of_layers).fetchone()[0])

    wait_until(lambda: not count(), "the end of other tests' connections")
    with ThreadPoolExecutor(20) as crowd:
        list(crowd.map(async_to_sync(layer.send), ["x"] * 20, [{"type": "x"}] * 20))
    run(layer.new_channel())
    assert count() == 1
    wire: Any = type(layer.connect())(layer)
    wire.join = lambda seconds: None  # its thread has not begun
    wire.close()
    wire.run()
    layer.disconnect()
    wait_until(lambda: not count(), "the end of the connection")


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
        garbage = ["x", "a b c", f"{channel} i 0 ü", f"{channel} i 0 wQ==",
                   f"{channel} i 0 *", f"{channel} i x wQ=="]  # fmt: skip
        with psycopg.connect(postgres.url()) as connection:
            for payload in garbage:
                connection.execute("SELECT pg_notify('outlast', %s)", [payload])
        await layer.send(channel, {"type": "sense"})
        assert await receive(layer, channel) == {"type": "sense"}
        wire = layer.connect()
        assert wire._parts.keys() == {"i"}
        await layer.close_channel(channel)
        wire._receive_part(f"{channel} i x wQ==")
        assert not wire._parts

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
        async with Traffic(use_postgres(), use_postgres()) as traffic:
            await asyncio.to_thread(fault, postgres)
            await traffic.receives_within(2 + TOLERANCE)
            opened = time.monotonic()
            await traffic.here.new_channel()
            assert time.monotonic() - opened < SEND_TIMEOUT + TOLERANCE
            return traffic.slowest

    assert run(scenario()) < SEND_TIMEOUT + TOLERANCE
    assert "PostgreSQL cannot be used" in caplog.text
    assert "PostgreSQL can be used again" in caplog.text


@needs_postgres
@pytest.mark.slow
def test_follows_an_address_to_another_server(
    use_postgres: Callable[..., PostgresLayer], postgres: Postgres
) -> None:
    """As after a failover: the old server is silent, and the address leads to the new one."""

    async def scenario(other: Postgres) -> float:
        async with Proxy(postgres.port) as proxy:
            name_database(proxy.port)
            async with Traffic(use_postgres(), use_postgres()) as traffic:
                proxy.lead_to(other.port)
                await traffic.receives_within(2 + TOLERANCE)
                return traffic.slowest

    with Postgres() as other:
        assert run(scenario(other)) < SEND_TIMEOUT + TOLERANCE


@needs_postgres
def test_messages_arrive_once_lost_connections_are_replaced(
    use_postgres: Callable[..., PostgresLayer], postgres: Postgres
) -> None:
    here, there = use_postgres(), use_postgres()

    async def scenario() -> None:
        channel = await here.new_channel()
        await there.send(channel, {"type": "x"})
        await receive(here, channel)
        await asyncio.to_thread(restart, postgres)
        while not all(layer.connect()._listening.done() for layer in (here, there)):
            await asyncio.sleep(0.05)
        await there.send(channel, {"type": "y"})
        assert await receive(here, channel) == {"type": "y"}

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
        assert time.monotonic() - started < 2 * SEND_TIMEOUT + TOLERANCE

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
    found = list(check_listening())
    assert bool(found) is warned
    assert all("DATABASE_LISTEN_URL" in message.hint for message in found)
