"""One cell of the table: people use the site before, during and after a fault."""

import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

from proof.outage.doors import CACHE, Door, open_doors
from proof.outage.faults import Fault
from proof.outage.ledger import FAILURES, NOISE, Ledger, slowest_allowed
from proof.outage.listeners import Listeners
from proof.outage.people import Person, Racer
from proof.outage.scene import Scene

PEOPLE = 6
WARMING_UP, USUAL, AFTER = 0.5, 2.0, 2.0  # seconds
ENOUGH = {
    "logins": 200,
    "requests": 2000,
    "replays": 20,  # of cookies whose sessions were ended
    "replays at the other worker": 20,
    "racing requests": 20,
}
ENOUGH_MEANWHILE = {f"{what} during the fault": 3 for what in ("writes", "logouts", "events")}
PATIENCE = 60.0  # seconds that a slow machine is given to do enough
LEAVE = 60.0  # seconds that everybody is given to look at everything once more, and to go
CACHE_BACK = 5.0  # seconds
# Milliseconds, beside ledger.SLOWEST and with ledger.NOISE added like there; who waits longer
# waits for Redis, again and again.
ONE_IN_A_HUNDRED, ONE_IN_TWO, SEND = 600.0, 200.0, 300.0
HEARD_AGAIN = 5.0  # seconds; sockets look after themselves after 16 at the earliest


def email(number: int) -> str:
    """The address of a person."""
    return f"person{number}@example.com"


@dataclass
class Result:
    """What a cell has to show: counts, milliseconds per phase, `back` in seconds.

    `before`: failures of the time before the fault, which are not in `failures`.
    """

    did: dict[str, int]
    before: dict[str, int]
    failures: dict[str, int]
    details: list[str]
    latency: dict[str, dict[str, float]]
    back: float
    sockets: dict[str, float]  # Listeners.report(), or nothing
    seen: str

    def verdict(self) -> list[str]:
        """Return what is wrong, in sentences; nothing if all is well."""
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
            f"{who} waited for {waited:.0f} ms, where {limit:.0f} are much"
            for who, waited, limit in self.waits()
            if waited > limit
        ]

    def waits(self) -> Iterator[tuple[str, float, float]]:
        """Return who waited, for how long, and how long that may be, in milliseconds."""
        usual, fault = self.latency["usual"], self.latency["fault"]
        noticed = self.latency.get("noticed", fault)
        noise, noise_of_most = NOISE * usual["p99"], NOISE * usual["p50"]
        yield "the slowest request during the fault", fault["max"], slowest_allowed(self.latency)
        yield "one request in a hundred", noticed["p99"], ONE_IN_A_HUNDRED + noise
        yield "every other request", noticed["p50"], ONE_IN_TWO + noise_of_most
        yield "the cache, to be used again,", 1000 * self.back, 1000 * CACHE_BACK + noise
        if sockets := self.sockets:
            yield "the slowest event", sockets["slowest"], SEND + noise
            yield "sockets, to hear again,", 1000 * sockets["again"], 1000 * HEARD_AGAIN + noise

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def play(scene: Scene, fault: Fault, *, patience: float = PATIENCE) -> Result:
    """Let people use the site while `fault` happens; return what came of it.

    Raises AssertionError where the fault was not there, or Redis not in use before it.
    """
    with ExitStack() as stack:

        def doors() -> list[Door]:
            opened = open_doors(scene.site, scene.ledger)
            for door in opened:
                stack.callback(door.close)
            return opened

        scene.ledger, scene.seen = Ledger(), []
        watchers = doors()
        people = [Person(n, email(n), doors(), scene.ledger) for n in range(PEOPLE)]
        people.append(Racer(PEOPLE, email(PEOPLE), doors(), doors(), scene.ledger))
        listeners = Listeners(scene.site, email(PEOPLE + 1), doors(), scene.ledger)
        back = watch(scene, fault, people, watchers, listeners, patience)
    return Result(
        did=dict(scene.ledger.did),
        before=dict(scene.ledger.before),
        failures=dict(scene.ledger.failures),
        details=scene.ledger.details,
        latency=scene.ledger.latency(),
        back=back,
        sockets=listeners.report() if listeners.sockets else {},
        seen="; ".join(scene.seen),
    )


def watch(
    scene: Scene,
    fault: Fault,
    people: list[Person],
    watchers: list[Door],
    listeners: Listeners,
    patience: float,
) -> float:
    """Return how many seconds after the fault all workers used Redis again."""
    ledger = scene.ledger
    threads: list[Person | Listeners] = [*people]
    wait_for_cache(scene, watchers)
    if scene.names["sessions"] == "ours":  # Django's engines let no socket in
        threads.append(listeners)
        listeners.start()
        listeners.ready.wait(LEAVE)
    for person in people:
        person.start()
    try:
        time.sleep(WARMING_UP)
        ledger.enter("usual")
        time.sleep(USUAL)
        assert people_use_redis(scene), "No session was in Redis before the fault."
        ledger.before, ledger.failures = ledger.failures, Counter()
        ledger.enter("fault")
        fault.cause(scene)
        ledger.enter("after")
        back = wait_for_cache(scene, watchers)
        while ledger.since("after") < patience and (
            ledger.since("after") < AFTER
            or ledger.since("fault") < 4.5
            or any(ledger.did[what] < enough for what, enough in ENOUGH.items())
            or (listeners.is_alive() and not listeners.are_well)
        ):
            time.sleep(0.05)
    finally:
        ledger.over.set()
        deadline = time.monotonic() + LEAVE
        for thread in threads:
            thread.join(max(0, deadline - time.monotonic()))
        scene.tidy()
    for thread in threads:
        if thread.error:
            raise thread.error
        assert not thread.is_alive(), f"{thread.name} is still there after {LEAVE:.0f} s."
    return back


def people_use_redis(scene: Scene) -> bool:
    """Whether Redis holds any session."""
    with scene.primary.client(db=scene.database) as client:
        return any("session" in name for name in client.scan_iter(count=10_000))


def wait_for_cache(scene: Scene, watchers: list[Door], seconds: float = 30) -> float:
    """Return after how many seconds every worker reads from Redis what it wrote there."""
    began = time.monotonic()
    for door in watchers:
        while not is_cached(scene, door):
            passed = time.monotonic() - began
            assert passed < seconds, f"Worker {door.worker} does not use Redis again."
            time.sleep(0.1)
    return time.monotonic() - began


def is_cached(scene: Scene, door: Door) -> bool:
    """Whether a worker's write to the cache is read back, and lies in the primary."""
    name = uuid.uuid4().hex
    answer = door.get(CACHE, params={"name": name})
    if answer.status_code != 200 or not answer.json()["cached"]:
        return False
    with scene.primary.client(db=scene.database) as client:
        return any(True for _ in client.scan_iter(match=f"*{name}", count=10_000))
