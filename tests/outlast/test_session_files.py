"""What the engine `file` adds: private files, each named by one row."""

import os
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.models import Session as DjangoSession
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from outlast.checks import check_session_engine
from outlast.models import Session
from outlast.sessions import files
from session_helpers import loaded, row, saved, store

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def folder(use_engine: Callable[[str], None]) -> Path:
    use_engine("file")
    return files.folder()


def test_a_session_has_one_file_and_an_ended_one_none(folder: Path) -> None:
    session = saved(fruit="apple")
    for fruit in ("pear", "plum"):
        session["fruit"] = fruit
        session.save()
        assert len(list(folder.iterdir())) == 1
    session.cycle_key()
    assert len(list(folder.iterdir())) == 1
    assert store(session.session_key)["fruit"] == "plum"
    session.flush()
    assert list(folder.iterdir()) == []


def test_creating_another_session_leaves_the_first_alone(folder: Path) -> None:
    session = saved(fruit="apple")
    first = session.session_key
    session.create()
    session["fruit"] = "pear"
    session.save()
    assert store(first)["fruit"] == "apple"
    assert store(session.session_key)["fruit"] == "pear"
    assert len(list(folder.iterdir())) == 2


def test_the_row_has_no_data_and_the_file_no_key(folder: Path) -> None:
    session = saved(fruit="apple", _auth_user_id="7")
    path = next(folder.iterdir())
    assert session.session_key not in path.name + path.read_text()
    assert DjangoSession.objects.get().get_decoded() == {SESSION_KEY: "7"}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
def test_other_users_cannot_read_the_files(folder: Path) -> None:
    folder.mkdir(mode=0o701)
    saved(fruit="apple")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert next(folder.iterdir()).stat().st_mode & 0o777 == 0o600
    folder.chmod(0o1700)  # private already: left as it is
    saved(fruit="pear")
    assert folder.stat().st_mode & 0o7777 == 0o1700


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
def test_a_new_folder_is_private_from_the_beginning(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(Path, "chmod")
    saved(fruit="apple")
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_reader_who_was_overtaken_by_a_save_reads_again(monkeypatch: pytest.MonkeyPatch) -> None:
    session = saved(fruit="apple")
    read = Path.read_text

    def overtaken(path: Path, *args: Any) -> str:
        monkeypatch.setattr(Path, "read_text", read)
        session["fruit"] = "pear"
        session.save()
        return read(path, *args)

    monkeypatch.setattr(Path, "read_text", overtaken)
    assert store(session.session_key)["fruit"] == "pear"


def test_a_file_that_may_not_be_read_is_an_error_not_a_logout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = saved(fruit="apple")
    refused: list[Path] = []

    def refuse(path: Path, *args: Any) -> str:
        refused.append(path)
        raise PermissionError(path)

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(PermissionError):
        store(session.session_key).get("fruit")
    assert len(refused) == 5  # on Windows the next attempt reads


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_text("x", "ascii")])
def test_without_its_file_a_session_loses_its_data_and_no_login(
    folder: Path, damage: Callable[[Path], Any]
) -> None:
    session = saved(900, fruit="apple", _auth_user_id="7")
    damage(next(folder.iterdir()))
    again = store(session.session_key)
    assert dict(again.items()) == {SESSION_KEY: "7", "_session_expiry": 900}
    assert again.session_key == session.session_key
    again["fruit"] = "pear"
    again.save()
    assert loaded(session.session_key)["fruit"] == "pear"


def test_a_file_of_another_session_or_of_an_earlier_save_is_not_read(folder: Path) -> None:
    mine, theirs = saved(fruit="mine"), saved(fruit="theirs")
    paths = {s: folder / files.name_of(s.session_key, s.row.version) for s in (mine, theirs)}
    old = paths[mine].read_text()
    for text in (paths[theirs].read_text(), old):
        mine["fruit"] = "mine, again"
        mine.save()
        path = folder / files.name_of(mine.session_key, row(mine).version or "")
        path.write_text(text)
        assert loaded(mine.session_key) == {}


def test_a_full_disk_raises_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    session = saved(fruit="apple")

    def full(*args: Any, **kwargs: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "open", full)
    session["fruit"] = "pear"
    with pytest.raises(OSError, match="No space"):
        session.save()
    assert store(session.session_key)["fruit"] == "apple"


def test_a_save_that_came_too_late_leaves_no_file(folder: Path) -> None:
    session = saved(fruit="apple")
    overlapping = store(session.session_key)
    overlapping["fruit"] = "pear"
    session.flush()
    with pytest.raises(UpdateError):
        overlapping.save()
    assert list(folder.iterdir()) == []


def test_files_that_no_row_names_are_cleared_once_they_are_old(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = saved(fruit="apple")
    (kept,) = folder.iterdir()
    young, old = folder / ("1" * 64), folder / ("0" * 64)
    monkeypatch.setattr(files, "time", SimpleNamespace(time=lambda: 1_800_000_000))
    for path, age in ((young, 3600), (old, 3601), (kept, 7200)):
        path.touch()
        os.utime(path, (0, 1_800_000_000 - age))
    call_command("clearsessions")
    assert sorted(folder.iterdir()) == sorted([kept, young])
    assert store(session.session_key)["fruit"] == "apple"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows asks for a privilege to make links")
def test_a_link_is_no_file_of_a_session(folder: Path, tmp_path: Path) -> None:
    saved(fruit="apple")
    target, link = tmp_path / "target", folder / ("0" * 64)
    target.touch()
    os.utime(target, (0, 0))
    link.symlink_to(target)
    call_command("clearsessions")
    assert link.is_symlink()


def test_clearing_works_before_the_first_session() -> None:
    call_command("clearsessions")


@pytest.mark.parametrize("engine", ["db", "file"])
def test_clearsessions_removes_no_files_of_others(
    engine: str, use_engine: Callable[[str], None], folder: Path
) -> None:
    use_engine(engine)
    others = [folder / "manage.py", folder / "a folder" / "x", folder / ("a" * 63)]
    orphan = folder / ("a" * 64)
    for path in (*others, orphan):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
        os.utime(path, (0, 0))
    os.utime(folder / "a folder", (0, 0))
    call_command("clearsessions")
    assert all(path.exists() for path in others)
    assert not orphan.exists()


def test_without_a_folder_no_other_is_used(
    settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Django's default is None, which must not be the working directory."""
    settings.SESSION_FILE_PATH = None
    monkeypatch.chdir(tmp_path)
    path = tmp_path / ("a" * 64)
    path.write_text("x")
    os.utime(path, (0, 0))
    call_command("clearsessions")
    assert path.exists()
    with pytest.raises(ImproperlyConfigured, match="SESSION_FILE_PATH is not set"):
        saved(fruit="apple")
    assert [error.id for error in check_session_engine()] == ["outlast.E006"]


def test_data_survives_a_rotation_of_the_secret_key(settings: Any) -> None:
    session = saved(fruit="apple")
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another"  # noqa: S105
    assert store(session.session_key)["fruit"] == "apple"
    settings.SECRET_KEY_FALLBACKS = []
    assert "fruit" not in store(session.session_key)


@pytest.mark.parametrize("model", [DjangoSession, Session])
@pytest.mark.parametrize("fields", [None, ["expire_date"]])
def test_a_package_that_extends_a_session_keeps_its_data(model: Any, fields: Any) -> None:
    session = saved(fruit="apple")
    found = model.objects.get(pk=session.session_key)
    found.expire_date += timedelta(days=1)
    found.save(update_fields=fields)
    assert store(session.session_key)["fruit"] == "apple"
    found.session_data = DjangoSession.objects.encode({"fruit": "pear"})
    found.save(update_fields=fields and ["session_data"])
    assert store(session.session_key)["fruit"] == "pear"
