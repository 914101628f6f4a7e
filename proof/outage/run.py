"""One outage: users work with the site before, during and after a fault."""

import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

from proof.outage.client import CACHE, Client, open_clients
from proof.outage.faults import Fault
from proof.outage.outage import Outage
from proof.outage.recorder import FAILURES, NOISE, Recorder, slowest_allowed
from proof.outage.sockets import Sockets
from proof.outage.users import RacingUser, User

USERS = 6
WARM_UP, USUAL, AFTER = 0.5, 2.0, 2.0  # seconds
ENOUGH = {
    "logins": 200,
    "requests": 2000,
    "replays": 20,  # of cookies whose sessions were ended
    "replays at the other worker": 20,
    "racing requests": 20,
}
ENOUGH_MEANWHILE = {f"{what} during the fault": 3 for what in ("writes", "logouts", "events")}
TIME_LIMIT = 60.0  # seconds that a slow machine is given to do enough
FINISH_SECONDS = 60.0  # that all users are given to look at everything once more
CACHE_BACK = 5.0  # seconds
# Milliseconds; recorder.NOISE is added as for recorder.SLOWEST. A user who waits longer waits
# for Redis again and again.
ONE_IN_A_HUNDRED, ONE_IN_TWO, SEND = 600.0, 200.0, 300.0
RECEIVED_AGAIN = 5.0  # seconds; sockets check themselves after 16 at the earliest


def email(number: int) -> str:
    """Return the address of a user."""
    return f"user{number}@example.com"


@dataclass
class Result:
    """What an outage showed: counts, milliseconds per phase, `back` in seconds.

    `before`: failures from before the fault, which are not in `failures`.
    """

    did: dict[str, int]
    before: dict[str, int]
    failures: dict[str, int]
    details: list[str]
    latency: dict[str, dict[str, float]]
    back: float
    sockets: dict[str, float]  # Sockets.report(), or empty
    seen: str

    def verdict(self) -> list[str]:
        """Return what is wrong, in sentences; an empty list if all is well."""
        wrong = [f"{number} {FAILURES[what]}" for what, number in self.failures.items()]
        wrong += [f"{n} {FAILURES[what]}, before the fault" for what, n in self.before.items()]
        wrong += self.details
        wrong += [
            f"{self.did.get(what, 0)} {what} are too few to prove anything, {enough} are needed"
            for what, enough in (ENOUGH | ENOUGH_MEANWHILE).items()
            if self.did.get(what, 0) < enough
        ]
        if sockets := self.sockets:
            closed = sockets["opened"] - sockets["open"]
            failed = {"closed": closed, "deaf at the end": sockets["deaf"]}
            wrong += [f"{number} sockets {what}" for what, number in failed.items() if number]
            wrong += [f"{sockets['raised']} sends raised"] if sockets["raised"] else []
        return wrong + [
            f"{what} took {waited:.0f} ms, more than {limit:.0f}"
            for what, waited, limit in self.waits()
            if waited > limit
        ]

    def waits(self) -> Iterator[tuple[str, float, float]]:
        """Yield what was waited for, for how long, and how long is allowed, in ms."""
        usual, fault = self.latency["usual"], self.latency["fault"]
        noticed = self.latency.get("noticed", fault)
        noise, noise_of_most = NOISE * usual["p99"], NOISE * usual["p50"]
        yield "The slowest request during the fault", fault["max"], slowest_allowed(self.latency)
        yield "One request in a hundred", noticed["p99"], ONE_IN_A_HUNDRED + noise
        yield "Every other request", noticed["p50"], ONE_IN_TWO + noise_of_most
        yield "The cache's return", 1000 * self.back, 1000 * CACHE_BACK + noise
        if sockets := self.sockets:
            yield "The slowest event", sockets["slowest"], SEND + noise
            again = 1000 * RECEIVED_AGAIN + noise
            yield "The return of all sockets", 1000 * sockets["again"], again

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def run_fault(outage: Outage, fault: Fault, *, time_limit: float = TIME_LIMIT) -> Result:
    """Let users work with the site while `fault` happens; return the result.

    Raises AssertionError if the fault was not active, or Redis not in use before it.
    """
    with ExitStack() as stack:

        def clients() -> list[Client]:
            opened = open_clients(outage.site, outage.recorder)
            for client in opened:
                stack.callback(client.close)
            return opened

        outage.recorder, outage.observations = Recorder(), []
        probes = clients()
        users = [User(n, email(n), clients(), outage.recorder) for n in range(USERS)]
        users.append(RacingUser(USERS, email(USERS), clients(), clients(), outage.recorder))
        sockets = Sockets(outage.site, email(USERS + 1), clients(), outage.recorder)
        back = _run(outage, fault, users, probes, sockets, time_limit)
    return Result(
        did=dict(outage.recorder.did),
        before=dict(outage.recorder.before),
        failures=dict(outage.recorder.failures),
        details=outage.recorder.details,
        latency=outage.recorder.latency(),
        back=back,
        sockets=sockets.report() if sockets.sockets else {},
        seen="; ".join(outage.observations),
    )


def _run(
    outage: Outage,
    fault: Fault,
    users: list[User],
    probes: list[Client],
    sockets: Sockets,
    time_limit: float,
) -> float:
    """Return how many seconds after the fault all workers used Redis again."""
    recorder = outage.recorder
    threads: list[User | Sockets] = [*users]
    wait_for_cache(outage, probes)
    if outage.names["sessions"] == "ours":  # with Django's engines no socket is accepted
        threads.append(sockets)
        sockets.start()
        sockets.ready.wait(FINISH_SECONDS)
    for user in users:
        user.start()
    try:
        time.sleep(WARM_UP)
        recorder.enter("usual")
        time.sleep(USUAL)
        assert sessions_are_in_redis(outage), "No session was in Redis before the fault."
        recorder.before, recorder.failures = recorder.failures, Counter()
        recorder.enter("fault")
        fault.cause(outage)
        recorder.enter("after")
        back = wait_for_cache(outage, probes)
        while recorder.since("after") < time_limit and (
            recorder.since("after") < AFTER
            or recorder.since("fault") < 4.5
            or any(recorder.did[what] < enough for what, enough in ENOUGH.items())
            or (sockets.is_alive() and not sockets.all_receive)
        ):
            time.sleep(0.05)
    finally:
        recorder.over.set()
        deadline = time.monotonic() + FINISH_SECONDS
        for thread in threads:
            thread.join(max(0, deadline - time.monotonic()))
        outage.restore()
    for thread in threads:
        if thread.error:
            raise thread.error
        assert not thread.is_alive(), f"{thread.name} still runs after {FINISH_SECONDS:.0f} s."
    return back


def sessions_are_in_redis(outage: Outage) -> bool:
    """Whether Redis holds any copy of a session."""
    return any("session" in name for name in outage.key_names())


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
    """Whether a worker's write to the cache is read back, and is in a primary."""
    name = uuid.uuid4().hex
    answer = client.get(CACHE, params={"name": name})
    if answer.status_code != 200 or not answer.json()["cached"]:
        return False
    return any(outage.key_names(f"*{name}"))
