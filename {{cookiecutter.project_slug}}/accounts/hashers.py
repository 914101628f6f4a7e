"""How passwords are hashed."""

import os
from threading import BoundedSemaphore
from typing import Any

from django.contrib.auth import hashers

# More at once than there are processors would not be quicker, and take memory.
_SLOTS = BoundedSemaphore(os.cpu_count() or 1)


class Argon2PasswordHasher(hashers.Argon2PasswordHasher):
    """Argon2id at 64 MiB instead of Django's 100 MiB, with three passes instead of two.

    Every hash in the making takes that memory: at Django's figures sixteen logins at once
    take 1.8 GB, and anybody can send a hundred. These are RFC 9106's second recommended
    option (64 MiB, t=3, p=4), and further logins wait in line.
    """

    time_cost = 3
    memory_cost = 64 * 1024  # KiB
    parallelism = 4

    def encode(self, *args: Any, **kwargs: Any) -> str:
        with _SLOTS:
            return super().encode(*args, **kwargs)

    def verify(self, *args: Any, **kwargs: Any) -> bool:
        with _SLOTS:
            return super().verify(*args, **kwargs)
