"""Run in a site on the profile `redis`, without a Redis: doctor and devredis say what to do.

Windows takes two seconds to say that nothing listens at a port; Wine says so at once.
"""

import io
import os
import socket
import sys
import time
from typing import Any

REFUSAL_SECONDS = 2.0
os.environ |= {"DJANGO_PROFILE": "redis", "REDIS_URL": "redis://127.0.0.1:6399/0"}
os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
sys.path.insert(0, "")
import django  # noqa: E402

django.setup()
from django.core.management import CommandError, call_command  # noqa: E402

connect = socket.socket.connect


def connect_as_windows_does(self: socket.socket, address: Any) -> None:
    """Connect; where nothing listens, take as long as Windows, or as the time-out allows."""
    try:
        connect(self, address)
    except ConnectionRefusedError:
        patience = self.gettimeout()
        time.sleep(min(REFUSAL_SECONDS, REFUSAL_SECONDS if patience is None else patience))
        if patience is not None and patience < REFUSAL_SECONDS:
            raise TimeoutError("timed out") from None
        raise


def said_by(command: str) -> str:
    """Run a command that must fail; return what it prints and its error."""
    output = io.StringIO()
    try:
        call_command(command, stdout=output, stderr=output)
    except (SystemExit, CommandError) as error:
        return f"{output.getvalue()}{error}"
    raise AssertionError(f"{command} did not fail:\n{output.getvalue()}")


if __name__ == "__main__":
    socket.socket.connect = connect_as_windows_does  # type: ignore[assignment,method-assign]
    for command, sentence in (("doctor", "Nothing listens at "), ("devredis", "on Windows, use ")):
        answer = said_by(command)
        print(answer)
        for expected in (sentence, "Docker", "WSL 2", "Memurai", "DJANGO_PROFILE=database"):
            assert expected in answer, f"{command} does not say {expected!r}"
        assert "firewall" not in answer
