"""Which replies of a real server open the breaker, and which reach the caller."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from outlast.addresses import read_address
from outlast.redis import Unavailable, make_client
from redis import Redis, exceptions

from tests.servers import Topology, wait_until


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
