"""Django's file cache, made safe for concurrent use on Windows.

Windows refuses to replace or remove a file that another thread or process has open
(PermissionError), and Django's way to replace one is not atomic there. So the calls take turns.
"""

import os
import random
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.core.cache.backends import filebased
from django.core.cache.backends.base import DEFAULT_TIMEOUT
from django.core.files import locks

WINDOWS = os.name == "nt"
SECONDS = 2.0  # for others who look into files, such as virus scanners
Untyped: Any = filebased.FileBasedCache  # django-stubs know no private methods
_lock = threading.Lock()


class FileBasedCache(Untyped):  # type: ignore[misc]
    """Entries in files of one machine; a drop-in replacement for Django's backend."""

    # Calls `_cull`, `_createdir`, `_key_to_file` and `_write_content`, private in Django 5.2 to
    # 6.1; tests/outlast/test_filebased.py pins them.

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        return self._alone(lambda: super(FileBasedCache, self).get(key, default, version))

    def set(
        self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> None:
        """As Django's, but with `os.replace`: a reader sees the old entry or the new one."""
        target = self._key_to_file(key, version)

        def write() -> None:
            self._createdir()
            self._cull()
            descriptor, name = tempfile.mkstemp(dir=self._dir)
            try:
                with open(descriptor, "wb") as file:  # noqa: PTH123
                    self._write_content(file, timeout, value)
                Path(name).replace(target)
            finally:
                Path(name).unlink(missing_ok=True)

        self._alone(write)

    def touch(self, key: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        return bool(self._alone(lambda: super(FileBasedCache, self).touch(key, timeout, version)))

    def delete(self, key: Any, version: int | None = None) -> bool:
        return bool(self._alone(lambda: super(FileBasedCache, self).delete(key, version)))

    def has_key(self, key: Any, version: int | None = None) -> bool:
        return bool(self._alone(lambda: super(FileBasedCache, self).has_key(key, version)))

    def clear(self) -> None:
        self._alone(super().clear)

    def _alone(self, call: Callable[[], Any]) -> Any:
        """Return what the call returns; on Windows, one call at a time on this folder."""
        if not WINDOWS:
            return call()
        self._createdir()
        with _lock, Path(self._dir, "lock").open("ab") as file:
            locks.lock(file, locks.LOCK_EX)
            try:
                return self._repeat(call)
            finally:
                locks.unlock(file)

    def _repeat(self, call: Callable[[], Any]) -> Any:
        """Repeat a call for as long as a file is in use, for at most SECONDS."""
        end = time.monotonic() + SECONDS
        while True:
            try:
                return call()
            except PermissionError:
                if time.monotonic() >= end:
                    raise
            time.sleep(random.uniform(0.001, 0.01))  # noqa: S311
