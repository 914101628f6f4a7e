"""Live events: channel layers

Two processes with 50 WebSockets each listen, and a third one sends.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

from benchmarks.report import Figures, Table, interleave, percentile
from proof.conftest import module
from proof.postgres import Postgres, find_postgres
from proof.site import TEMPLATE

PROCESSES, CHANNELS, MESSAGES, SENDS = 2, 50, 200, 6000


def run(rounds: int) -> Iterator[Table]:
    """Yield one table."""
    with ExitStack() as stack:
        redis = stack.enter_context(module("outlast.servers").Topology())
        layers = {"Redis": redis.environment()["REDIS_URL"]}
        if find_postgres():
            layers["PostgreSQL"] = stack.enter_context(Postgres()).url()
        subjects = {name: partial(measure, url) for name, url in layers.items()}
        title = f"live: {PROCESSES * CHANNELS} sockets in {PROCESSES} processes"
        yield Table(title, interleave(subjects, rounds, title))


def measure(url: str) -> Figures:
    """Return the figures of one round."""

    def start(what: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "benchmarks.live", what, url]
        return subprocess.Popen(command, cwd=TEMPLATE, stdout=subprocess.PIPE, text=True)

    listeners = [start("listen") for _ in range(PROCESSES)]
    for listener in listeners:
        assert listener.stdout
        listener.stdout.readline()
    rate = json.loads(start("send").communicate(timeout=60)[0])
    heard = [json.loads(each.communicate(timeout=60)[0]) for each in listeners]
    delays = [delay for each in heard for delay in each]
    return {
        "ms to each, p50": percentile(delays, 0.5) * 1000,
        "p99": percentile(delays, 0.99) * 1000,
        "sends/s": rate,
    }


# --- The processes: `python -m benchmarks.live listen URL` and `… send URL` ---


def make_layer(url: str) -> Any:
    """Return the layer for an address; there is no site in these processes."""
    if url.startswith("redis"):
        return module("outlast.channels.redis").PubSubLayer([url])
    database = module("environ").Env.db_url_config(url)
    module("django.conf").settings.configure(DATABASES={"default": database})
    return module("outlast.channels.postgres").PostgresLayer()


async def listen(layer: Any) -> list[float]:
    """Return the seconds that each message took to each channel."""
    channels = [await layer.new_channel() for _ in range(CHANNELS)]
    for channel in channels:
        await layer.group_add("group", channel)
    print("ready", flush=True)

    async def hear(channel: str) -> list[float]:
        messages = [(await layer.receive(channel), time.time()) for _ in range(MESSAGES)]
        return [received - message["at"] for message, received in messages]

    return [delay for heard in await asyncio.gather(*map(hear, channels)) for delay in heard]


async def send(layer: Any) -> float:
    """Send to the listeners; return how many messages a second can be sent to an empty group."""
    for _ in range(MESSAGES):
        await layer.group_send("group", {"type": "x", "at": time.time()})
        await asyncio.sleep(0.01)
    began = time.perf_counter()
    for _ in range(SENDS // 100):
        await asyncio.gather(*(layer.group_send("nowhere", {"type": "x"}) for _ in range(100)))
    return SENDS / (time.perf_counter() - began)


if __name__ == "__main__":
    what, url = sys.argv[1:]
    print(json.dumps(asyncio.run({"listen": listen, "send": send}[what](make_layer(url)))))
