"""How a project reads `.env` and `NAME_FILE`, as editors and systems write them."""

import os
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from outlast import environment

Env: Any = environment.Env


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A function that returns an `Env` that has read a file, and nothing else."""

    def read(content: bytes) -> Any:
        monkeypatch.setattr(os, "environ", dict(os.environ))
        monkeypatch.setattr(Env, "ENVIRON", type(Env.ENVIRON)(os.environ))
        monkeypatch.setattr("environ.Env.ENVIRON", os.environ)
        env, path = Env(), tmp_path / ".env"
        path.write_bytes(content)
        env.read_file(path)
        return env

    return read


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_every_encoding_and_line_end(read: Any, encoding: str) -> None:
    for newline in ("\n", "\r\n"):
        env = read(newline.join(["A_FLAG=1", "A_NAME=Zürich", ""]).encode(encoding))
        assert env.bool("A_FLAG") is True
        assert env.str("A_NAME") == "Zürich"


def test_lines_that_powershell_has_appended(read: Any) -> None:
    env = read(b"A_FLAG=0\nB_FLAG=1\n" + "A_FLAG=1\r\n".encode("utf-16-le"))
    assert [env.bool(name) for name in ("A_FLAG", "B_FLAG")] == [True, True]


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A_NAME=$ecret$", "$ecret$"),
        ("A_NAME=a#b  # comment", "a#b"),
        ("A_NAME= # comment", ""),
        ("A_NAME='a # b'  # comment", "a # b"),
        ('A_NAME="a # \\"b\\""', 'a # "b"'),
        ("  export A_NAME = a b ", "a b"),
    ],
)
def test_values_are_what_was_written(read: Any, line: str, value: str) -> None:
    assert read(f"# A comment\n\n  # Another\n{line}\n".encode()).str("A_NAME") == value


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"A_FLAG=1\nsecret\n", r"\.env, line 2, must have the form NAME=value\."),
        ("A_NAME=Zürich".encode("latin-1"), r"\.env must be saved as UTF-8\."),
    ],
)
def test_what_cannot_be_read_is_refused(read: Any, content: bytes, sentence: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"^{sentence}$"):
        read(content)


def test_what_variables_are_read_as(read: Any, tmp_path: Path) -> None:
    env = read(b"A_FLAG= ON \nNO_FLAG=off\nEMPTY=\nSOME_NAMES= a, b ,,c\n")
    assert [env.bool(name) for name in ("A_FLAG", "NO_FLAG", "EMPTY")] == [True, False, False]
    assert env.list("SOME_NAMES") == ["a", "b", "c"]
    assert env.list("NO_NAMES", default=["d"]) == ["d"]
    (tmp_path / "secret").write_bytes("\ufeff$ecret\r\n".encode())
    os.environ["A_NAME_FILE"] = str(tmp_path / "secret")
    assert env.str("A_NAME") == "$ecret"
    (tmp_path / "latin").write_bytes("Zürich".encode("latin-1"))
    os.environ["B_NAME_FILE"] = str(tmp_path / "latin")
    with pytest.raises(ImproperlyConfigured) as refused:
        env.str("B_NAME")
    sentence = f"B_NAME_FILE names {tmp_path / 'latin'}, which cannot be read: it is not UTF-8."
    assert str(refused.value) == sentence
    assert refused.value.__cause__ is None and refused.value.__suppress_context__
    with pytest.raises(ImproperlyConfigured, match=r"^\w+ cannot be read: "):
        env.read_file(tmp_path)  # a folder
    (tmp_path / ".env").write_text("A_FLAG=0")
    env.read_file(tmp_path / ".env")
    assert env.bool("A_FLAG") is True  # variables that are set win
