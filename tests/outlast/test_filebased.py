"""The file cache: Django's, and patient where Windows says that a file is in use."""

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


def test_entries(cache: filebased.FileBasedCache) -> None:
    cache.set("a", {1: "x"})
    assert cache.get("a") == {1: "x"}
    assert cache.add("a", 2) is False
    assert cache.touch("a", 60) and "a" in cache
    assert cache.delete("a") and cache.get("a", "gone") == "gone"
    cache.set("a", 1, timeout=0)
    assert not cache.has_key("a")
    left = [path.suffix for path in Path(cache._dir).iterdir()]
    assert set(left) <= {cache.cache_suffix}, "no temporary file is left"


@pytest.mark.parametrize("method", ["get", "touch", "has_key", "delete"])
def test_a_file_in_use_is_waited_for_on_windows(
    method: str, cache: filebased.FileBasedCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.set("a", 1)
    base = filebased.filebased.FileBasedCache
    monkeypatch.setattr(base, method, busy(3, getattr(base, method)))
    with pytest.raises(PermissionError):
        getattr(cache, method)("a")
    monkeypatch.setattr(filebased, "WINDOWS", True)
    assert getattr(cache, method)("a")


def test_replacing_waits_on_windows(
    cache: filebased.FileBasedCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filebased, "WINDOWS", True)
    monkeypatch.setattr(Path, "replace", busy(3, Path.replace))
    cache.set("a", 1)
    assert cache.get("a") == 1
    cache.clear()
    assert cache.get("a") is None


def test_a_file_that_stays_in_use_is_an_error(
    cache: filebased.FileBasedCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filebased, "WINDOWS", True)
    monkeypatch.setattr(filebased, "SECONDS", 0.05)
    monkeypatch.setattr(Path, "replace", busy(10_000, Path.replace))
    with pytest.raises(PermissionError):
        cache.set("a", 1)
