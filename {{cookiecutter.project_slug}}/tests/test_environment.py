"""`.env` and `NAME_FILE`, however editors and systems write them."""

import os
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from config.environment import Env

pytestmark = pytest.mark.any_profile


@pytest.fixture
def env() -> Any:
    """An `Env` whose variables disappear after the test."""
    before = dict(os.environ)
    yield Env()  # type: ignore[no-untyped-call]
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_every_encoding_and_line_end(
    env: Any, tmp_path: Path, encoding: str, newline: str
) -> None:
    content = newline.join(["A_FLAG=1", "A_NAME=Zürich", ""])
    (tmp_path / ".env").write_bytes(content.encode(encoding))
    env.read_file(tmp_path / ".env")
    assert env.bool("A_FLAG") is True
    assert env.str("A_NAME") == "Zürich"


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A_NAME=$ecret$", "$ecret$"),
        ("A_NAME=a#b  # comment", "a#b"),
        ("A_NAME= # comment", ""),
        ("A_NAME='a # b'  # comment", "a # b"),
        ('A_NAME="a # \\"b\\""', 'a # "b"'),
        ("  export A_NAME = a b ", "a b"),
        ("A_NAME=postgres://u:p%23w@h/db?x=1#y", "postgres://u:p%23w@h/db?x=1#y"),
    ],
)
def test_values_are_what_was_written(env: Any, tmp_path: Path, line: str, value: str) -> None:
    (tmp_path / ".env").write_text(f"# A comment\n\n  # Another\n{line}\n", "utf-8")
    env.read_file(tmp_path / ".env")
    assert env.str("A_NAME") == value


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"A_FLAG=1\nsecret\n", r"\.env, line 2, must have the form NAME=value\."),
        ("A_NAME=Zürich".encode("latin-1"), r"\.env must be saved as UTF-8\."),
    ],
)
def test_what_cannot_be_read_is_refused(
    env: Any, tmp_path: Path, content: bytes, sentence: str
) -> None:
    (tmp_path / ".env").write_bytes(content)
    with pytest.raises(ImproperlyConfigured, match=f"^{sentence}$"):
        env.read_file(tmp_path / ".env")


def test_a_folder_is_refused_and_a_missing_file_is_not(env: Any, tmp_path: Path) -> None:
    env.read_file(tmp_path / ".env")
    with pytest.raises(ImproperlyConfigured, match="cannot be read: "):
        env.read_file(tmp_path)


def test_variables_that_are_set_win(env: Any, tmp_path: Path) -> None:
    os.environ["A_NAME"] = "set"
    (tmp_path / ".env").write_text("A_NAME=file")
    env.read_file(tmp_path / ".env")
    assert env.str("A_NAME") == "set"


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", True), ("True", True), (" ON ", True), ("0", False), ("off", False), ("", False)],
)
def test_booleans(env: Any, text: str, value: bool) -> None:
    os.environ["A_FLAG"] = text
    assert env.bool("A_FLAG", default=not value) is value


def test_the_line_end_of_a_secret_file_is_no_part_of_the_secret(env: Any, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes("\ufeff$ecret\r\n".encode())
    os.environ["A_NAME_FILE"] = str(tmp_path / "secret")
    assert env.str("A_NAME") == "$ecret"


def test_spaces_around_commas_are_no_part_of_a_list(env: Any) -> None:
    os.environ["SOME_NAMES"] = " a, b ,,c"
    assert env.list("SOME_NAMES") == ["a", "b", "c"]
    assert env.list("NO_NAMES", default=["d"]) == ["d"]
