"""The breaker: by itself with a clock that stands still, and on the replies of a real server."""

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from outlast.redis import COOLDOWN, Breaker, Unavailable, make_client, read_address
from outlast.redis import breaker as module
from outlast.servers import Topology, wait_until
from redis import Redis, exceptions


class Server:
    """What the breaker is about: well, or raising `error`."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.checks = self.failures = self.calls = 0

    def check(self) -> None:
        self.checks += 1
        if self.error:
            raise self.error

    def answer(self, breaker: Breaker, value: Any = "answer") -> Any:
        with breaker:
            self.calls += 1
            if self.error:
                raise self.error
            return value

    def on_failure(self) -> None:
        self.failures += 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    # Less than an outage lasts, as after the start of a machine: no other sum gives its length.
    clock = SimpleNamespace(now=1.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def breaker(server: Server, clock: SimpleNamespace) -> Breaker:
    return Breaker(read_address("redis://:s3cret@here:1/0"), server.check, server.on_failure)


@pytest.fixture
def broken(breaker: Breaker, server: Server, clock: SimpleNamespace) -> Breaker:
    server.error = exceptions.ConnectionError("refused.")
    with pytest.raises(Unavailable):
        server.answer(breaker)
    clock.now += 0.1
    return breaker


def test_passes_calls_on(
    breaker: Breaker, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    assert server.answer(breaker, 5) == 5
    assert (breaker.is_open, breaker.reason, server.checks, caplog.messages) == (False, "", 0, [])


def test_refuses_calls_after_a_failure(
    breaker: Breaker, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.error = exceptions.TimeoutError("no reply")
    for _ in range(2):
        with pytest.raises(Unavailable, match=r"^Redis at here:1/0 cannot be used: no reply\.$"):
            server.answer(breaker)
    assert (server.calls, server.checks, server.failures, breaker.is_open) == (1, 0, 1, True)
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("Redis at here:1/0 cannot be used: no reply. The site")


def test_too_few_connections_are_no_outage(
    breaker: Breaker, server: Server, clock: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    server.error = exceptions.MaxConnectionsError("Too many connections")
    for _ in range(3):
        with pytest.raises(Unavailable, match="raise max_connections"):
            server.answer(breaker)
    assert (breaker.is_open, server.failures, len(caplog.messages)) == (False, 0, 1)
    clock.now += 60
    with pytest.raises(Unavailable):
        server.answer(breaker)
    assert len(caplog.messages) == 2


def test_is_used_again_once_the_check_succeeds(
    broken: Breaker, server: Server, clock: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    server.error = None
    clock.now += COOLDOWN
    assert server.answer(broken) == "answer"
    assert (server.checks, broken.is_open) == (1, False)
    assert caplog.messages[-1] == f"Redis at here:1/0 is used again after {COOLDOWN + 0.1:.1f} s."
    server.answer(broken)
    assert server.checks == 1


def test_is_asked_once_in_a_while_as_long_as_the_check_fails(
    broken: Breaker, server: Server, clock: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    for checks in range(1, 5):
        clock.now += COOLDOWN
        for _ in range(10):
            with pytest.raises(Unavailable):
                server.answer(broken)
        assert (server.checks, server.calls) == (checks, 1)
    assert not caplog.messages  # it was logged when it began


def test_one_caller_checks_while_the_others_are_refused(
    server: Server, clock: SimpleNamespace, broken: Breaker
) -> None:
    server.error = None
    checking, checked = threading.Event(), threading.Event()

    def slow_check() -> None:
        server.checks += 1
        checking.set()
        assert checked.wait(10)

    broken.check = slow_check
    clock.now += COOLDOWN
    results: list[Any] = []
    caller = threading.Thread(target=lambda: results.append(server.answer(broken)))
    caller.start()
    assert checking.wait(10)
    for _ in range(20):  # none of them waits for the one that does
        with pytest.raises(Unavailable):
            server.answer(broken)
    checked.set()
    caller.join(10)
    assert (results, server.checks) == (["answer"], 1)


def test_a_check_that_never_returns_is_followed_by_another(
    broken: Breaker, server: Server, clock: SimpleNamespace
) -> None:
    server.error = None
    broken.check = lambda: (_ for _ in ()).throw(KeyboardInterrupt)
    clock.now += COOLDOWN
    with pytest.raises(KeyboardInterrupt):
        server.answer(broken)
    broken.check = server.check
    with pytest.raises(Unavailable):
        server.answer(broken)
    clock.now += COOLDOWN
    assert server.answer(broken) == "answer"


def test_those_who_were_waiting_do_not_put_the_check_off(
    breaker: Breaker, server: Server, clock: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Unavailable), breaker:
        server.error = exceptions.ConnectionError("refused")
        with pytest.raises(Unavailable):
            server.answer(breaker)
        clock.now += 0.25
        raise exceptions.TimeoutError("at last")
    server.error = None
    clock.now += COOLDOWN - 0.25
    assert server.answer(breaker) == "answer"
    assert len(caplog.messages) == 2


def test_a_password_is_struck_out(
    breaker: Breaker, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.error = exceptions.ConnectionError("unknown command 'HELLO': 'AUTH' 's3cret'")
    with pytest.raises(Unavailable, match=r"'AUTH' '\*\*\*'"):
        server.answer(breaker)
    assert "s3cret" not in caplog.messages[0] + breaker.reason


# --- Replies of a real server ---


@pytest.fixture(scope="module")
def topology() -> Iterator[Topology]:
    with Topology() as topology:
        yield topology


def ask(port: int, *command: Any) -> Callable[[], object]:
    client = make_client(read_address(f"redis://127.0.0.1:{port}/0"), "canary")
    return lambda: client.execute_command(*command)


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        ("XGROUP CREATE stream group $", "BUSYGROUP"),
        ("XREADGROUP GROUP none me STREAMS stream >", "NOGROUP"),
        ("LPUSH text x", "WRONGTYPE"),
        ("INCR text", "not an integer"),
        ("INCR largest", "overflow"),
        ("INCRBYFLOAT text 1", "not a valid float"),
        ("SET k v EX -1", "invalid expire"),
        ("SET k v NONSENSE", "syntax error"),
        ("SETRANGE k 536870912 x", "exceeds maximum allowed size"),
        ("GET", "wrong number of arguments"),
        ("NONSENSE", "unknown command"),
        ("EVALSHA 0000000000000000000000000000000000000000 0", "No matching script"),
        ("EVAL error('mine') 0", "mine"),
        ("EVAL nonsense( 0", "Error compiling"),
        ("RENAME missing other", "no such key"),
        ("LSET list 5 x", "index out of range"),
        ("XADD stream 0-0 a b", "ID specified"),
        ("RESTORE text 0 x", "BUSYKEY"),
        ("RESTORE other 0 x", "DUMP payload"),
        ("SCRIPT KILL", "NOTBUSY"),
        ("EXEC", "EXEC without MULTI"),
        ("CONFIG SET nonsense 1", "Unknown option"),
        ("OBJECT FREQ text", "LFU"),
        ("WAIT x 0", "not an integer"),
    ],
)
def test_a_reply_about_a_command_reaches_the_caller(
    topology: Topology, command: str, reply: str
) -> None:
    raw = Redis(port=topology.primary.port)
    raw.mset({"text": "x", "largest": 2**63 - 1})
    raw.delete("list", "stream")
    raw.rpush("list", "x")
    raw.xgroup_create("stream", "group", mkstream=True)
    call = ask(topology.primary.port, *command.split())
    with pytest.raises(exceptions.ResponseError, match=reply):
        call()
    with pytest.raises(exceptions.ResponseError, match=reply):
        call()  # and not Unavailable


def busy(server: Topology) -> None:
    server.primary.client().config_set("busy-reply-threshold", 10)
    endless = Redis(port=server.primary.port, socket_timeout=0.2, retry=None)
    with suppress(exceptions.TimeoutError):
        endless.eval("while true do end", 0)


def unable_to_save(server: Topology) -> None:
    raw = server.primary.client()
    raw.config_set("save", "60 1")
    shutil.rmtree(raw.config_get("dir")["dir"])
    raw.set("some", 1)
    with suppress(exceptions.ResponseError):
        raw.bgsave()
    wait_until(lambda: raw.info("persistence")["rdb_last_bgsave_status"] == "err", "it to fail")


def cut_off(server: Topology, *settings: tuple[str, Any]) -> Redis:
    raw = server.primary.client(single_connection_client=True)
    for name, value in settings:
        raw.config_set(name, value)
    raw.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    return raw  # the one client that is left


OUTAGES: dict[str, Callable[[Topology], Any]] = {
    "refused": lambda server: server.primary.kill(),
    "Timeout": lambda server: server.primary.pause(),
    "maxmemory": lambda server: server.primary.client().config_set("maxmemory", 1),
    "replica": lambda server: server.primary.client().replicaof("127.0.0.1", 1),
    "NOREPLICAS": lambda server: server.primary.client().config_set("min-replicas-to-write", 1),
    "max number of clients": lambda server: cut_off(server, ("maxclients", 1)),
    "Authentication required|already authenticated": lambda server: cut_off(
        server, ("requirepass", "changed")
    ),
    "permissions": lambda server: server.primary.client().acl_setuser(
        "default", enabled=True, commands=["+@all", "-set"]
    ),
    "MISCONF": unable_to_save,
    "BUSY": busy,
}


@pytest.mark.parametrize("reason", OUTAGES)
def test_a_reply_that_says_not_now_opens_the_breaker(reason: str) -> None:
    with Topology() as server:
        call = ask(server.primary.port, "SET", "k", 1)
        call()
        kept = OUTAGES[reason](server)
        for _ in range(2):
            with pytest.raises(Unavailable, match=f"cannot be used: .*({reason})"):
                call()
        del kept


def test_a_wrong_password_opens_the_breaker() -> None:
    with Topology(password="right") as server:
        address = read_address(f"redis://:wrong@127.0.0.1:{server.primary.port}/0")
        with pytest.raises(Unavailable, match=r"WRONGPASS|invalid username-password"):
            make_client(address, "canary").get("k")


def test_a_node_of_a_cluster_that_has_not_the_slot_opens_the_breaker() -> None:
    with Topology(shards=3) as cluster:
        call = ask(cluster.servers[0].port, "SET", "foo", 1)  # in slot 12182, of the third
        with pytest.raises(Unavailable, match="MOVED 12182"):
            call()


def test_a_replica_without_its_primary_opens_the_breaker() -> None:
    with Topology(lines=["replica-serve-stale-data no"]) as server:
        call = ask(server.primary.port, "GET", "k")
        call()
        server.primary.client().replicaof("127.0.0.1", 1)
        with pytest.raises(Unavailable, match="Link with MASTER is down"):
            call()


def test_a_cluster_that_is_down_opens_the_breaker() -> None:
    with Topology(lines=["cluster-enabled yes"]) as server:
        call = ask(server.primary.port, "SET", "k", 1)
        with pytest.raises(Unavailable, match="Hash slot not served"):
            call()
