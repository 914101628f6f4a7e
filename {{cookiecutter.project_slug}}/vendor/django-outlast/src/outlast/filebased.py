"""Django's file cache, made safe for concurrent use on Windows.

Windows refuses to replace or remove a file that another thread or process has open
(PermissionError), and there Django does not replace files atomically. So calls run one at a time.
Nothing changes on other systems.
"""

import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT
from django.core.cache.backends.filebased import FileBasedCache as Django
from django.core.files import locks

WINDOWS = os.name == "nt"
SECONDS = 2.0  # to wait for programs that open files for a moment, such as virus scanners
_lock = threading.Lock()


def _alone(method: Callable[..., Any]) -> Callable[..., Any]:
    """On Windows, run one call at a time on this folder, and repeat it while a file is in use."""

    def call(self: Any, *args: Any, **options: Any) -> Any:
        if not WINDOWS:
            return method(self, *args, **options)
        self._createdir()
        end = time.monotonic() + SECONDS
        with _lock, Path(self._dir, "lock").open("ab") as file:
            locks.lock(file, locks.LOCK_EX)
            try:
                while True:
                    try:
                        return method(self, *args, **options)
                    except PermissionError:
                        if time.monotonic() >= end:
                            raise
                    time.sleep(random.uniform(0.001, 0.01))  # noqa: S311
            finally:
                locks.unlock(file)

    return call


def _django(name: str) -> Callable[..., Any]:
    return _alone(lambda self, *args, **options: getattr(Django, name)(self, *args, **options))


class FileBasedCache(Django):
    """Entries in files of one machine; a drop-in replacement for Django's backend."""

    @_alone
    def set(
        self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> None:
        if WINDOWS:  # where Django would write into the old file
            Django.delete(self, key, version)
        super().set(key, value, timeout, version)

    get, touch, delete = _django("get"), _django("touch"), _django("delete")
    has_key, clear = _django("has_key"), _django("clear")
