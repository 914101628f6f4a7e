"""The file cache: Django's, with retries when Windows reports that a file is in use."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from outlast import filebased


@pytest.fixture
def cache(tmp_path: Path) -> filebased.FileBasedCache:
    return filebased.FileBasedCache(str(tmp_path / "cache"), {})


def busy(times: int, call: Callable[..., Any]) -> Callable[..., Any]:
    """Return the call, which says so many times that the file is in use."""
    failures = iter([PermissionError(13, "in use")] * times)

    def wrapped(*arguments: Any, **options: Any) -> Any:
        for failure in failures:
            raise failure
        return call(*arguments, **options)

    return wrapped


USES = {"get": (), "set": (2,), "touch": (), "has_key": (), "delete": ()}


@pytest.mark.parametrize("method", USES)
def test_a_file_in_use_is_waited_for_on_windows(
    method: str, cache: filebased.FileBasedCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.set("a", 1)
    base = filebased.Django
    monkeypatch.setattr(base, method, busy(3, getattr(base, method)))
    with pytest.raises(PermissionError):
        getattr(cache, method)("a", *USES[method])
    monkeypatch.setattr(filebased, "WINDOWS", True)
    assert getattr(cache, method)("a", *USES[method]) or cache.get("a") == 2
    monkeypatch.setattr(filebased, "SECONDS", 0.05)
    monkeypatch.setattr(base, method, busy(10_000, getattr(base, method)))
    with pytest.raises(PermissionError):
        getattr(cache, method)("a", *USES[method])


def test_calls_take_turns_on_windows(
    cache: filebased.FileBasedCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry that is replaced is there all the time, although it is removed first."""
    monkeypatch.setattr(filebased, "WINDOWS", True)
    cache.set("a", 0)
    missing: list[int] = []

    def read() -> None:
        missing.extend(n for n in range(200) if cache.get("a") is None)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(200):
        cache.set("a", number)
    for thread in threads:
        thread.join()
    assert not missing
    assert cache.get("a") == 199
    cache.clear()
    assert cache.get("a") is None
