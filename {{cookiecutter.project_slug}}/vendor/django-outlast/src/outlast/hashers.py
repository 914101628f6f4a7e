"""How passwords are hashed."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import get_native_id
from typing import Any

from django.contrib.auth import hashers


def _lower_priority() -> None:
    """Lower the priority of the thread, on Linux."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, get_native_id(), 10)


@cache
def _threads(process: int) -> ThreadPoolExecutor:
    """Return the threads of a process; one that was forked has none of its parent's."""
    # More than one per processor would not be faster, but need more memory.
    return ThreadPoolExecutor(os.cpu_count() or 1, "hasher", _lower_priority)


class Argon2PasswordHasher(hashers.Argon2PasswordHasher):
    """Argon2id at 64 MiB instead of Django's 100 MiB, with three passes instead of two.

    RFC 9106's second recommended option. With Django's parameters, sixteen logins at the same time
    need 1.8 GB, and anyone can send a hundred; here further logins wait.
    """

    time_cost = 3
    memory_cost = 64 * 1024  # KiB
    parallelism = 4

    def encode(self, *args: Any, **kwargs: Any) -> str:
        return _threads(os.getpid()).submit(super().encode, *args, **kwargs).result()

    def verify(self, *args: Any, **kwargs: Any) -> bool:
        return _threads(os.getpid()).submit(super().verify, *args, **kwargs).result()
