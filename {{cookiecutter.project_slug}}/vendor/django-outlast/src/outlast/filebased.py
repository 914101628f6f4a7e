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
from typing import Any, TypeVar

from django.core.cache.backends import filebased
from django.core.cache.backends.base import DEFAULT_TIMEOUT
from django.core.files import locks

WINDOWS = os.name == "nt"
SECONDS = 2.0  # for others who look into files, such as virus scanners
T = TypeVar("T")
_lock = threading.Lock()


class FileBasedCache(filebased.FileBasedCache):
    """Entries in files of one machine; a drop-in replacement for Django's backend."""

    def __init__(self, directory: str, params: dict[str, Any]) -> None:
        super().__init__(directory, params)
        self.folder = Path(directory)

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        return self._alone(super().get, key, default, version)

    def set(
        self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> None:
        def write() -> None:
            if WINDOWS:  # where Django would write into the old file
                super(FileBasedCache, self).delete(key, version)
            super(FileBasedCache, self).set(key, value, timeout, version)

        self._alone(write)

    def touch(self, key: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        return self._alone(super().touch, key, timeout, version)

    def delete(self, key: Any, version: int | None = None) -> bool:
        return self._alone(super().delete, key, version)

    def has_key(self, key: Any, version: int | None = None) -> bool:
        return self._alone(super().has_key, key, version)

    def clear(self) -> None:
        self._alone(super().clear)

    def _alone(self, call: Callable[..., T], *arguments: Any) -> T:
        """Return what the call returns; on Windows, one call at a time on this folder.

        A call is repeated for as long as a file is in use, for at most SECONDS.
        """
        if not WINDOWS:
            return call(*arguments)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        end = time.monotonic() + SECONDS
        with _lock, (self.folder / "lock").open("ab") as file:
            locks.lock(file, locks.LOCK_EX)
            try:
                while True:
                    try:
                        return call(*arguments)
                    except PermissionError:
                        if time.monotonic() >= end:
                            raise
                    time.sleep(random.uniform(0.001, 0.01))  # noqa: S311
            finally:
                locks.unlock(file)
