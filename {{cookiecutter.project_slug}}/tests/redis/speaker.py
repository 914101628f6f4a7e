"""A process of its own that goes on talking: sends numbered messages until its input closes.

    python -m tests.redis.speaker '["redis://127.0.0.1:6379/0"]' prefix group

Prints, as JSON, how many were sent, the errors raised and the slowest send in seconds.
"""

import asyncio
import json
import sys
import threading
import time

from outlast.layer import PubSubLayer


async def speak(layer: PubSubLayer, group: str, end: threading.Event) -> dict[str, object]:
    """Send twenty messages a second, each with the moment it was sent."""
    sent, slowest, errors = 0, 0.0, []
    while not end.is_set():
        started = time.perf_counter()
        try:
            await layer.group_send(group, {"type": "said", "at": time.time()})
        except Exception as error:
            errors.append(repr(error))
        slowest = max(slowest, time.perf_counter() - started)
        sent += 1
        await asyncio.sleep(0.05)
    return {"sent": sent, "errors": errors, "slowest": slowest}


def main(hosts: str, prefix: str, group: str) -> None:
    end = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), end.set()), daemon=True).start()
    print(json.dumps(asyncio.run(speak(PubSubLayer(json.loads(hosts), prefix), group, end))))


if __name__ == "__main__":
    main(*sys.argv[1:])
