"""Django's file cache, made safe for concurrent use on Windows.

Windows refuses to replace or remove a file that another thread or process has open
(PermissionError), and Django's way to replace one is not atomic there.
"""

import os
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.core.cache.backends import filebased
from django.core.cache.backends.base import DEFAULT_TIMEOUT

WINDOWS = os.name == "nt"
SECONDS = 2.0  # an entry is open for about a millisecond


def _patiently(call: Callable[[], Any]) -> Any:
    """Repeat a call while Windows says that the file is in use; elsewhere call once."""
    end = time.monotonic() + (SECONDS if WINDOWS else 0)
    while True:
        try:
            return call()
        except PermissionError:
            if time.monotonic() >= end:
                raise
        time.sleep(random.uniform(0.001, 0.01))  # noqa: S311


Untyped: Any = filebased.FileBasedCache  # django-stubs know no private methods


class FileBasedCache(Untyped):  # type: ignore[misc]
    """Entries in files of one machine; a drop-in replacement for Django's backend."""

    # Overrides `_delete` and calls `_cull`, `_createdir`, `_key_to_file` and `_write_content`,
    # private in Django 5.2 to 6.1; tests/outlast/test_filebased.py pins them.

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        return _patiently(lambda: super(FileBasedCache, self).get(key, default, version))

    def set(
        self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> None:
        """As Django's, but with `os.replace`: a reader sees the old entry or the new one."""
        self._createdir()
        target = self._key_to_file(key, version)
        self._cull()
        descriptor, name = tempfile.mkstemp(dir=self._dir)
        try:
            with open(descriptor, "wb") as file:  # noqa: PTH123
                self._write_content(file, timeout, value)
            _patiently(lambda: Path(name).replace(target))
        finally:
            Path(name).unlink(missing_ok=True)

    def touch(self, key: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        return bool(_patiently(lambda: super(FileBasedCache, self).touch(key, timeout, version)))

    def has_key(self, key: Any, version: int | None = None) -> bool:
        return bool(_patiently(lambda: super(FileBasedCache, self).has_key(key, version)))

    def _delete(self, fname: str) -> bool:
        return bool(_patiently(lambda: super(FileBasedCache, self)._delete(fname)))
