"""A proxy that makes a server on this machine as far away as one elsewhere.

    with far_away(5432, milliseconds=2) as port: ...

A process of its own, so that it takes no time from the one that is measured.
"""

import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def far_away(port: int, milliseconds: float) -> Iterator[int]:
    """Return a port that leads to the loopback port `port`, that long there and back."""
    if not milliseconds:
        yield port
        return
    command = [sys.executable, __file__, str(port), str(milliseconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()


def carry(source: socket.socket, target: socket.socket, seconds: float) -> None:
    """Hand on what arrives, each piece `seconds` later, however many are on their way."""
    on_their_way: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()

    def deliver() -> None:
        data = b"to begin with"
        while data:
            due, data = on_their_way.get()
            time.sleep(max(0.0, due - time.monotonic()))
            target.sendall(data) if data else target.shutdown(socket.SHUT_WR)

    threading.Thread(target=deliver, daemon=True).start()
    data = b"to begin with"
    while data:
        data = source.recv(1 << 16)
        on_their_way.put((time.monotonic() + seconds, data))


def serve(port: int, seconds: float) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        print(server.getsockname()[1], flush=True)
        while True:
            near, _ = server.accept()
            far = socket.create_connection(("127.0.0.1", port))
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for ends in ((near, far), (far, near)):
                threading.Thread(target=carry, args=(*ends, seconds), daemon=True).start()


if __name__ == "__main__":
    serve(int(sys.argv[1]), float(sys.argv[2]) / 2000)
