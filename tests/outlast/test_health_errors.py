"""Errors of Redis and of the database, most of them provoked on real servers, in words."""

import contextlib
import re
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, connection
from django.db.backends.sqlite3.base import DatabaseWrapper
from outlast.health import probes, redis
from outlast.health.asking import State
from outlast.health.errors import TABLE, Service, ServiceError, explain
from outlast.servers import Server, Topology, quoted, wait_until
from redis.exceptions import AuthenticationError, MovedError, RedisError
from tls import make_certificates, speak_tls
from troubleshooting import SITE, write_page

PAGE = SITE / "docs" / "troubleshooting.md"
QUICK = redis.Patience(0.5, 0.5)
Use = Callable[..., None]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def server(stack: ExitStack) -> Server:
    return stack.enter_context(Topology()).primary


@pytest.fixture
def use(settings: Any) -> Use:
    """A function that points the cache at an address, or at Sentinels."""

    def use(location: str, **options: Any) -> None:
        settings.CACHES = {
            "default": {
                "BACKEND": "outlast.cache.RedisCache",
                "LOCATION": location,
                "KEY_PREFIX": "here",
                "OPTIONS": options,
            }
        }

    return use


def trouble(title: str) -> tuple[str, str]:
    """Return the sentence and the remedies for what is wrong with Redis.

    `title`: of the entry that the error must be, in the words that this entry lists.
    """
    with pytest.raises(ServiceError) as error:
        redis.server(QUICK)
    (entry,) = [entry for entry in TABLE["redis"] if entry["title"] == title]
    start = re.escape(entry["sentence"].partition("{")[0])
    assert re.search(start, error.value.sentence, re.IGNORECASE), error.value.sentence
    cause = str(error.value.__cause__)
    assert any(plain(text) in plain(cause) for text in entry["texts"]), cause
    return error.value.sentence, "\n".join(error.value.remedies)


def plain(text: str) -> str:
    """Return an error without what differs from case to case."""
    text = re.sub(r"(?<=to )[\w.-]+:\d+|(?<=from )[\w.-]+:\d+", "HOST", text)
    text = re.sub(r"(?<=for ')[\w.]+(?=')", "NAME", text)
    text = re.sub(r"/[\w./-]+", "PATH", text)
    return re.sub(r"-?\d+", "N", text)


def url(server: Server, login: str = "", number: int = 0) -> str:
    return f"redis://{login}127.0.0.1:{server.port}/{number}"


# --- The table ---


@pytest.mark.parametrize("kind", ["redis", "database"])
def test_the_table_recognises_what_it_lists(kind: str) -> None:
    for entry in TABLE[kind]:
        host = "" if entry.get("loopback") else "elsewhere.test"
        service = Service(kind, "Server", "there", host)
        for text in entry["texts"]:
            found = service.explain(OperationalError(text))[0]
            expected = entry["sentence"].format(who="Server", at="there", it="Server at there")
            assert found == expected[0].upper() + expected[1:], text


def test_the_page_is_made_from_the_table(tmp_path: Path) -> None:
    copy = tmp_path / "page.md"
    copy.write_text(PAGE.read_text("utf-8"), "utf-8")
    write_page(copy)
    written = copy.read_text("utf-8")
    assert all(entry["title"] in written for entry in TABLE["redis"] + TABLE["database"])
    assert written == PAGE.read_text("utf-8"), "Run: python tests/outlast/troubleshooting.py FILE"


def test_a_password_in_an_error_is_hidden_but_does_not_hide_the_error(
    use: Use, settings: Any
) -> None:
    use("redis://:password@127.0.0.1:6379/0")
    error = AuthenticationError("invalid username-password pair or user is disabled.")
    assert "refuses the user name or the password" in explain(error)[0]
    settings.DATABASES["default"]["PASSWORD"] = "s3cr{t@"  # noqa: S105
    try:
        (sentence,) = explain(OperationalError("odd: s3cr{t@ and s3cr%7Bt%40 {0}"))
    finally:
        del settings.DATABASES["default"]["PASSWORD"]
    assert sentence.endswith("reports an error: OperationalError: odd: *** and *** {0}.")


@pytest.mark.parametrize(
    ("system", "ways"),
    [
        ("Windows", ["Docker Desktop", "WSL 2", "Memurai", "DJANGO_PROFILE=database"]),
        ("Darwin", ["manage.py devredis", "brew install valkey", "DJANGO_PROFILE=database"]),
        ("Linux", ["manage.py devredis", "Permanently: ", "DJANGO_PROFILE=database"]),
    ],
)
def test_how_to_start_one_on_this_system(
    system: str, ways: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.system", lambda: system)
    service = Service("redis", "Redis", "localhost:6390", "localhost", 6390, "REDIS_URL")
    refused = ConnectionError("Error 10061 connecting to localhost:6390.")
    _, *remedies = service.explain(refused)
    assert len(remedies) == len(ways)
    assert all(way in remedy for way, remedy in zip(ways, remedies, strict=True))
    assert ("-p 127.0.0.1:6390:6379" in remedies[0]) == (system == "Windows")
    elsewhere = Service("redis", "Redis", "redis.test:6379", "redis.test", 6379, "REDIS_URL")
    assert "Check that it runs on redis.test" in elsewhere.explain(refused)[1]


def test_other_errors() -> None:
    assert explain(ImproperlyConfigured("Wrong."))[0] == "Wrong."
    assert "cannot be written: File exists" in explain(FileExistsError(17, "File exists", "/x"))[0]
    assert explain(KeyError("odd"))[0] == "KeyError: 'odd'."


# --- Provoked ---


def test_healthy(server: Server, use: Use) -> None:
    use(url(server))
    finding = redis.server(QUICK)
    assert finding.state is State.OK
    assert finding.text.endswith(f" at 127.0.0.1:{server.port}")
    for probe in (redis.memory, redis.connections):
        assert probe().state is State.OK


def test_an_address_that_cannot_be_read(use: Use) -> None:
    use("redis://:p4/ss@127.0.0.1:6379/0")
    with pytest.raises(ImproperlyConfigured, match=r"\(REDIS_URL\) cannot be read") as error:
        redis.server(QUICK)
    assert "p4" not in str(error.value)


def test_nothing_listens(server: Server, use: Use) -> None:
    server.kill()
    use(url(server))
    sentence, remedies = trouble("Error 10061 connecting to localhost:6379")
    assert f"127.0.0.1:{server.port}: Redis is not running" in sentence
    assert "DJANGO_PROFILE=database" in remedies


@pytest.mark.parametrize("seconds", [0.5, None])
def test_a_port_that_is_slow_to_refuse(seconds: float | None, use: Use) -> None:
    """As on Windows, where the answer that nothing listens takes two seconds."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        use(f"redis://127.0.0.1:{port}/0")
        if seconds:
            threading.Timer(seconds, listener.close).start()
            with pytest.raises(ServiceError) as error:
                redis.server(redis.DOCTOR)
            sentence, remedies = error.value.sentence, "\n".join(error.value.remedies)
        else:
            sentence, remedies = trouble("Timeout connecting to server, on this machine")
        assert sentence.startswith(f"Nothing listens at 127.0.0.1:{port}")
        assert "devredis" in remedies


@pytest.mark.skipif("sys.platform == 'win32'", reason="redis-py has no such sockets on Windows")
def test_no_such_unix_socket(use: Use) -> None:
    use("unix:///no/such/redis.sock?db=0")
    sentence, _ = trouble("Error 2 connecting to a Unix socket")
    assert sentence.startswith("There is no socket at /no/such/redis.sock")


def test_unknown_host(use: Use) -> None:
    use("redis://no-such-host.invalid:6379/0")
    sentence, remedies = trouble("Error 11001, -2 or 8: the name of the host")
    assert sentence == "Cannot resolve the host name in no-such-host.invalid:6379."
    assert remedies == "Correct REDIS_URL"


def test_hung(server: Server, use: Use) -> None:
    use(url(server))
    server.pause()
    assert "docker restart" in trouble("Timeout reading from localhost:6379")[1]


def test_passwords(stack: ExitStack, server: Server, use: Use) -> None:
    locked = stack.enter_context(Topology(password="right")).primary  # noqa: S106
    use(url(locked, ":wrong-one@"))
    sentence, remedies = trouble("invalid username-password pair or user is disabled")
    assert "wrong-one" not in sentence + remedies
    use(url(locked))
    trouble("Authentication required")
    use(url(server, ":s3cret@") + "?protocol=2")  # the newer one takes any
    trouble("AUTH called without any password configured")


def test_a_user_without_the_permissions(stack: ExitStack, use: Use) -> None:
    lines = ["user site on >right ~elsewhere:* &* +@all"]
    use(url(stack.enter_context(Topology(lines=lines)).primary, "site:right@"))
    assert "deploy/users.conf" in trouble("User has no permissions")[1]


def test_number_of_no_database(server: Server, use: Use) -> None:
    use(url(server, number=99))
    trouble("DB index is out of range")


def test_a_replica(stack: ExitStack, use: Use) -> None:
    use(url(stack.enter_context(Topology(replicas=1)).servers[1]))
    assert "redis-sentinel" in trouble("You can't write against a read only replica")[1]


def test_a_node_of_a_cluster_under_the_profile_for_one_server(stack: ExitStack, use: Use) -> None:
    use(url(stack.enter_context(Topology(lines=["cluster-enabled yes"])).primary))
    with pytest.raises(ServiceError) as error:
        redis.server(QUICK)
    assert "is a node of a Redis Cluster" in error.value.sentence
    assert "DJANGO_PROFILE=redis-cluster" in error.value.remedies[0]
    assert explain(MovedError("3999 127.0.0.1:6381"))[0] == error.value.sentence


def test_one_server_under_the_profile_for_a_cluster(stack: ExitStack, use: Use) -> None:
    use(url(stack.enter_context(Topology()).primary), cluster=True)
    assert "without cluster mode" in trouble("This instance has cluster support disabled")[0]
    assert "without cluster mode" in explain(RedisError("Cluster mode is not enabled"))[0]


def test_a_cluster_that_loses_nodes(stack: ExitStack, use: Use) -> None:
    cluster = stack.enter_context(Topology(1, shards=3))
    first, *_, last = cluster.servers
    use(f"redis://127.0.0.1:{first.port}", cluster=True)
    assert redis.server(QUICK).text == "cluster of 6 nodes, state ok"
    last.kill()
    wait_until(lambda: redis.server(QUICK).state is State.WARNING, "the loss to be noticed")
    assert redis.server(QUICK).text.endswith(f"; lost: 127.0.0.1:{last.port}.")
    cluster.servers[2].kill()
    wait_until(lambda: redis.server(QUICK).state is State.DOWN, "the cluster to give up")


def test_full(stack: ExitStack, use: Use) -> None:
    lines = ["maxmemory 100mb", "maxmemory-policy noeviction"]
    server = stack.enter_context(Topology(lines=lines)).primary
    use(url(server))
    assert redis.memory().state is State.WARNING, "a warning in time"
    with server.client() as client:
        client.config_set("maxmemory", 1)
    remedies = trouble("OOM command not allowed when used memory > 'maxmemory'")[1]
    assert "maxmemory-policy allkeys-lru" in remedies


def test_it_evicts_all_the_time(stack: ExitStack, use: Use) -> None:
    lines = ["maxmemory 4mb", "maxmemory-policy allkeys-lru"]
    server = stack.enter_context(Topology(lines=lines)).primary
    use(url(server))
    with server.client() as client:
        for number in range(800):
            client.set(f"k{number}", "x" * 10_000)
    finding = redis.memory()
    assert finding.state is State.WARNING
    assert "4.2 MB, policy allkeys-lru" in finding.text


def test_it_cannot_save(stack: ExitStack, use: Use, tmp_path: Path) -> None:
    lines = [f"dir {quoted(tmp_path)}", "dbfilename taken", "save 1 1"]
    server = stack.enter_context(Topology(lines=lines)).primary
    use(url(server))
    (tmp_path / "taken").mkdir()  # in the place of the file
    (tmp_path / "taken" / "x").touch()
    with server.client() as client:
        client.set("a", 1)
        client.bgsave()
        while client.info("persistence")["rdb_bgsave_in_progress"]:
            pass
    trouble("MISCONF Redis is configured to save RDB snapshots")


def test_loading(stack: ExitStack, use: Use) -> None:
    slow = ["key-load-delay 500", "loading-process-events-interval-bytes 1024"]
    server = stack.enter_context(Topology(lines=slow)).primary
    with server.client() as client:
        client.mset({f"k{number}": "" for number in range(20_000)})
        client.save()
    server.start(wait=False)
    use(url(server))
    # Before, nothing listens, or the port is open and nothing answers yet.
    for _ in range(200):
        with pytest.raises(ServiceError) as error:
            redis.server(QUICK)
        if "is loading its data from disk" in error.value.sentence:
            return
    pytest.fail(error.value.sentence)


def test_no_connections_left(stack: ExitStack, use: Use) -> None:
    server = stack.enter_context(Topology(lines=["maxclients 3"])).primary
    use(url(server))
    clients = [stack.enter_context(server.client()) for _ in range(2)]
    for client in clients:
        client.ping()
    assert "soon it refuses new ones" in redis.connections().text
    clients.append(stack.enter_context(server.client()))
    clients[-1].ping()
    trouble("max number of clients reached")


def test_not_a_redis(use: Use) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    with client:
                        client.recv(1000)
                        client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        port = listener.getsockname()[1]
        use(f"redis://127.0.0.1:{port}/0")
        trouble("Protocol Error")
        use(f"rediss://127.0.0.1:{port}/0")
        trouble("SSL: WRONG_VERSION_NUMBER, record layer failure")
        listener.shutdown(socket.SHUT_RDWR)


def test_messages_that_do_not_arrive(
    server: Server, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.kill()
    config = {"hosts": [url(server)], "prefix": "x"}
    layer = {"BACKEND": "outlast.channels.redis.PubSubLayer", "CONFIG": config}
    settings.CHANNEL_LAYERS = {"default": layer}
    monkeypatch.setattr(probes, "MESSAGE_SECONDS", 0.5)
    finding = probes.message_round_trip()
    assert finding.state is State.DOWN
    assert "did not return within 0.5 s through PubSubLayer" in finding.text


# --- SQLite ---


@pytest.mark.django_db  # permits connections, none of which is to the test database
def test_sqlite(tmp_path: Path, settings: Any) -> None:
    config = settings.DATABASES["default"] | {"NAME": tmp_path / "new.sqlite3"}
    database = DatabaseWrapper({**connection.settings_dict, **config, "OPTIONS": {"timeout": 0.1}})
    with pytest.raises(OperationalError) as missing:
        database.cursor().execute("SELECT * FROM accounts_user")
    assert explain(missing.value) == (
        "Tables or columns are missing in the database.",
        "Create them: python manage.py migrate",
    )
    with closing(sqlite3.connect(tmp_path / "new.sqlite3", isolation_level=None)) as writer:
        writer.execute("CREATE TABLE busy (n)")
        writer.execute("BEGIN EXCLUSIVE")
        database.close()
        with pytest.raises(OperationalError) as locked:
            database.cursor().execute("INSERT INTO busy VALUES (1)")
    assert explain(locked.value)[0].startswith("Another process keeps SQLite at ")
    database.close()
    database.settings_dict["NAME"] = tmp_path / "nowhere" / "new.sqlite3"
    with pytest.raises(OperationalError) as no_folder:
        database.cursor()
    assert "its folder does not exist" in explain(no_folder.value)[0]


# --- TLS ---


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificates(tmp_path_factory.mktemp("tls"))


def test_tls(server: Server, certificates: Path, use: Use, tmp_path: Path) -> None:
    port = speak_tls(server.port, certificates)
    use(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificates / 'ca.pem'}")
    assert redis.server(QUICK).state is State.OK
    assert probes.cache_round_trip().state is State.OK
    use(f"rediss://127.0.0.1:{port}/0")
    title = "SSL: unable to get local issuer certificate, self-signed certificate"
    assert "REDIS_CA_FILE=" in trouble(title)[1]
    use(f"rediss://localhost:{port}/0?ssl_ca_certs={certificates / 'ca.pem'}")
    trouble("SSL: Hostname mismatch, IP address mismatch")
    use(f"redis://127.0.0.1:{port}/0")
    assert "rediss://" in trouble("Connection closed by server")[1]


def test_an_expired_certificate(server: Server, use: Use, tmp_path: Path) -> None:
    expired = make_certificates(tmp_path, expired=True)
    port = speak_tls(server.port, expired)
    use(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={expired / 'ca.pem'}")
    trouble("SSL: certificate has expired")
