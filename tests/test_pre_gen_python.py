"""The pre_gen hook refuses a Python that is too old for the site."""

import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace

import pytest

from tests.conftest import ANSWERS, Bake

LoadHook = Callable[..., ModuleType]


@pytest.mark.parametrize("version", [(3, 9, 18), (3, 10, 13), (3, 11, 0), (3, 14, 2), (4, 0, 0)])
def test_the_python_of_cookiecutter(
    version: tuple[int, ...],
    load_hook: LoadHook,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PROJECT_PYTHON", raising=False)
    hook = load_hook("pre_gen_project")
    monkeypatch.setattr(hook, "sys", SimpleNamespace(version_info=version))
    sentence = next(hook.refusals(ANSWERS), None)
    assert bool(sentence) is (version < (3, 11))
    if sentence:
        assert sentence.startswith(f"Python is {version[0]}.{version[1]}, but must be 3.11")


@pytest.mark.parametrize(
    ("printed", "start"),
    [
        (b"3.13\n", None),
        (b"3.9\r\n", "Python is 3.9, but"),
        (b"Python!", "PROJECT_PYTHON is '3.13'"),
    ],
)
@pytest.mark.parametrize(
    ("there", "command"),
    [
        ({"3.13": "/bin/3.13", "py.exe": "py"}, ["/bin/3.13"]),
        ({"python3.13": "/bin/python3.13", "py.exe": "py"}, ["/bin/python3.13"]),
        ({"py.exe": r"C:\Windows\py.exe"}, ["py", "-3.13"]),
        ({}, ["3.13"]),
    ],
)
def test_the_python_that_is_named(
    there: dict[str, str],
    command: list[str],
    printed: bytes,
    start: str | None,
    load_hook: LoadHook,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is found as by the other hook, and asked for its version."""
    monkeypatch.setenv("PROJECT_PYTHON", "3.13")
    hook = load_hook("pre_gen_project")
    asked: list[list[str]] = []

    def check_output(arguments: list[str], **options: object) -> bytes:
        asked.append(arguments)
        return printed

    monkeypatch.setattr(hook.shutil, "which", there.get)
    monkeypatch.setattr(hook.subprocess, "check_output", check_output)
    sentence = next(hook.refusals(ANSWERS), None)
    assert sentence is None if start is None else str(sentence).startswith(start)
    assert [arguments[:-2] for arguments in asked] == [command]


@pytest.mark.parametrize("named", ["no-such-python", "3.99", ""])
def test_a_python_that_is_not_there(named: str, bake: Bake) -> None:
    baked = bake(variables={"PROJECT_PYTHON": named})
    assert (baked.exit_code == 0) is (named == "")
    refused = f"Not generated: PROJECT_PYTHON is '{named}', which does not start as a Python. "
    assert baked.output.startswith(refused) is (named != "")


def test_a_python_that_is_there_may_be_named_by_path(bake: Bake) -> None:
    assert bake(variables={"PROJECT_PYTHON": sys.executable}).exit_code == 0
