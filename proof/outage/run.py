"""One outage: users work with the site before, during and after a fault."""

import time
import uuid
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack

from proof.outage.client import CACHE, Client, open_clients
from proof.outage.faults import Fault
from proof.outage.outage import STOCK, Outage
from proof.outage.result import Result
from proof.outage.sockets import Sockets
from proof.outage.users import RacingUser, User

USERS = 6
EMAILS = [f"user{number}@example.com" for number in range(USERS + 2)]
WARM_UP, USUAL, AFTER = 0.5, 2.0, 2.0  # seconds
TIME_LIMIT = 3.0 if STOCK else 60.0  # seconds that a slow machine is given to do enough
FINISH_SECONDS = 60.0  # in which all users check everything once more


def run_fault(outage: Outage, fault: Fault) -> Result:
    """Let users work with the site while `fault` happens; return the result.

    Raises AssertionError if the fault was not active, or Redis not in use before it.
    """
    result = outage.result = Result()
    with ExitStack() as stack, ThreadPoolExecutor(len(EMAILS)) as pool:

        def clients() -> list[Client]:
            opened = open_clients(outage.site, result)
            for client in opened:
                stack.callback(client.close)
            return opened

        probes = clients()
        wait_for_cache(outage, probes)
        *others, racer, listener = EMAILS
        users = [User(email, clients(), result) for email in others]
        users.append(RacingUser(racer, clients(), clients(), result))
        sockets = Sockets(outage.site, listener, clients(), result)
        working = []
        if not STOCK:  # with Django's engines no socket is accepted
            working.append(pool.submit(sockets.run))
            sockets.ready.wait(FINISH_SECONDS)
        working += [pool.submit(user.run) for user in users]
        try:
            _cause(outage, fault, probes, sockets)
        finally:
            result.over.set()
            wait(working, FINISH_SECONDS)
            outage.restore()
        for each in working:
            each.result(0)
    if sockets.sockets:
        result.sockets = sockets.report()
    return result


def _cause(outage: Outage, fault: Fault, probes: list[Client], sockets: Sockets) -> None:
    """Run the phases; continue until enough was done and all sockets receive events again."""
    result = outage.result
    time.sleep(WARM_UP)
    result.enter("usual")
    time.sleep(USUAL)
    assert outage.keys("*session*"), "No session was in Redis before the fault."
    if not STOCK:  # Django's engines sometimes fail without a fault
        assert not result.failures, f"Before the fault: {result.details}"
    result.failures.clear()
    result.enter("fault")
    fault.cause(outage)
    result.enter("after")
    result.back = wait_for_cache(outage, probes)
    while result.since("after") < TIME_LIMIT and (
        result.since("after") < AFTER
        or result.since("fault") < 4.5
        or not result.is_enough
        or not (STOCK or sockets.all_receive)
    ):
        time.sleep(0.05)


def wait_for_cache(outage: Outage, clients: list[Client], seconds: float = 30) -> float:
    """Return after how many seconds every worker reads from Redis what it wrote there."""
    began = time.monotonic()
    for client in clients:
        while not is_cached(outage, client):
            passed = time.monotonic() - began
            assert passed < seconds, f"Worker {client.worker} does not use Redis again."
            time.sleep(0.1)
    return time.monotonic() - began


def is_cached(outage: Outage, client: Client) -> bool:
    """Whether a worker's write to the cache is read back, and is in Redis."""
    name = uuid.uuid4().hex
    answer = client.get(CACHE, params={"name": name})
    return answer.status_code == 200 and answer.json()["cached"] and bool(outage.keys(f"*{name}"))
