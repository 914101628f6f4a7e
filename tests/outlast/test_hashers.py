"""How many passwords are hashed at once, and hashing after a fork."""

import multiprocessing
import os
import threading
from typing import Any
from unittest.mock import patch

import pytest
from django.contrib.auth import hashers
from outlast.hashers import Argon2PasswordHasher


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of fork() with threads
def test_passwords_are_hashed_after_a_fork() -> None:
    hasher = Argon2PasswordHasher()
    hasher.encode("x", "some salt")
    child = multiprocessing.get_context("fork").Process(
        target=hasher.encode, args=("x", "salt" * 2)
    )
    child.start()
    child.join(20)
    child.kill()
    assert child.exitcode == 0


@pytest.mark.parametrize("method", ["encode", "verify"])
def test_no_more_hashes_at_once_than_processors(method: str) -> None:
    """Each takes 64 MiB, and anyone can ask for a hundred."""
    slots, running, done = os.cpu_count() or 1, threading.Semaphore(0), threading.Event()

    def slow(*args: Any) -> str:
        running.release()
        assert done.wait(10)
        return ""

    work = getattr(Argon2PasswordHasher(), method)
    with patch.object(hashers.Argon2PasswordHasher, method, slow):
        threads = [threading.Thread(target=work, args="xy") for _ in range(slots + 3)]
        for thread in threads:
            thread.start()
        assert all(running.acquire(timeout=10) for _ in range(slots))
        assert not running.acquire(timeout=0.2)
        done.set()
        for thread in threads:
            thread.join(10)
