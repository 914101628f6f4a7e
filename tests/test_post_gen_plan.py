"""What the post_gen hook plans to run, in which environment, and how it shows a command."""

import os
import shlex
import sys
from collections.abc import Callable
from types import ModuleType

import pytest

from tests.conftest import QUESTIONS

LoadHook = Callable[..., ModuleType]


@pytest.fixture
def hook(load_hook: LoadHook) -> ModuleType:
    """The hook of a project with the profile `database`."""
    return load_hook("post_gen_project")


@pytest.mark.parametrize("profile", QUESTIONS["profile"])
@pytest.mark.parametrize("uv", ["uv", None])
def test_the_plan(profile: str, uv: str | None, hook: ModuleType) -> None:
    write, create, install, migrate = hook.plan(profile, "/base/python", uv)
    assert f"DJANGO_PROFILE={profile}'" in write.commands[0][2]
    last = install.commands[-1]
    assert last[-2:] == ["--group", "dev"]
    assert migrate.commands == [[hook.PYTHON, "manage.py", "migrate"]]
    if uv:
        assert create.commands == [["uv", "venv", "--python", "/base/python", ".venv"]]
        assert len(install.commands) == 1
    else:
        assert create.commands == [["/base/python", "-m", "venv", ".venv"]]
        assert all(command[:3] == [hook.PYTHON, "-m", "pip"] for command in install.commands)


@pytest.mark.parametrize(
    ("on_path", "variable", "found"),
    [(True, None, "uv"), (True, "/else/uv", "uv"), (False, "/else/uv", "/else/uv"),
     (False, None, None)],
)  # fmt: skip
def test_uv_is_found(
    on_path: bool,
    variable: str | None,
    found: str | None,
    hook: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`uvx` knows its uv by a variable, even where it is not on PATH."""
    monkeypatch.delenv("UV", raising=False)
    if variable:
        monkeypatch.setenv("UV", variable)
    there = {"uv" if on_path else None, "/else/uv"}
    monkeypatch.setattr(hook.shutil, "which", lambda name: name if name in there else None)
    assert hook.find_uv() == found


def test_the_python_behind_cookiecutter(hook: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment that `uvx` or pipx made for cookiecutter is no place for a site."""
    monkeypatch.delenv("PROJECT_PYTHON", raising=False)
    monkeypatch.setattr(sys, "_base_executable", "/base/python")
    assert hook.base_python() == "/base/python"
    monkeypatch.setattr(sys, "_base_executable", None)
    assert hook.base_python() == sys.executable
    monkeypatch.setenv("PROJECT_PYTHON", "/other/python")
    assert hook.base_python() == "/other/python"
    monkeypatch.setenv("PROJECT_PYTHON", "3.13")
    there = {"python3.13": "/bin/python3.13"}
    monkeypatch.setattr(hook.shutil, "which", there.get)
    assert hook.base_python() == "/bin/python3.13"


# --- Commands: how they run, how they are shown ---


def test_what_the_shell_has_set_does_not_reach_the_project(
    hook: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = [
        "PYTHONDONTWRITEBYTECODE", "PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV", "DATABASE_URL",
        "DATABASE_URL_FILE", "DJANGO_DEBUG", "DJANGO_SETTINGS_MODULE", "REDIS_URL", "SITE_URL",
    ]  # fmt: skip
    for name in [*foreign, "PIP_INDEX_URL", "HTTPS_PROXY"]:
        monkeypatch.setenv(name, "foreign")
    kept = hook.environment()
    assert kept["PIP_INDEX_URL"] == kept["HTTPS_PROXY"] == "foreign"
    assert kept["PATH"] == os.environ["PATH"]
    assert set(foreign).isdisjoint(kept)
    assert kept["UV_PYTHON_DOWNLOADS"] == "never"


@pytest.mark.parametrize(
    ("program", "problem"),
    [
        ("print('fine')", ""),
        ("raise SystemExit('a reason')", "a reason"),
        ("print(*range(99), sep='\\n'); exit(1)", "\n".join(map(str, range(87, 99)))),
        ("exit(3)", "exit code 3, without a word"),
        ("import sys; sys.stdout.buffer.write(b'caf\\xe9'); exit(1)", "caf\ufffd"),
        ("import sys; print('caf\\xe9', file=sys.stderr); exit(1)", "caf\u00e9"),
    ],
)
def test_why_a_command_failed(program: str, problem: str, hook: ModuleType) -> None:
    """Its own last words."""
    assert hook.run([[sys.executable, "-c", program]]).endswith(problem)
    assert bool(hook.run([[sys.executable, "-c", program]])) is bool(problem)


def test_nothing_waits_for_somebody_to_type(hook: ModuleType) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"typed")
    os.close(writer)
    ours = os.dup(0)
    os.dup2(reader, 0)
    try:
        assert "EOFError" in hook.run([[sys.executable, "-c", "exit(input())"]])
    finally:
        os.dup2(ours, 0)
        os.close(ours)
        os.close(reader)


def test_a_program_that_is_not_there(hook: ModuleType) -> None:
    assert "no-such-program" in hook.run([["no-such-program"]])


@pytest.mark.parametrize(
    "words",
    [["uv", "venv"], ["/my site/python", "-c", "print('x'); y = \"z\""], ["a$HOME`b`\\!"], ["a;b"],
     ["pip>=25.1", ".[redis]", "'"], [""]],
)  # fmt: skip
def test_commands_as_typed_in_a_posix_shell(words: list[str], load_hook: LoadHook) -> None:
    assert shlex.split(load_hook("post_gen_project", system="posix").typed(words)) == words


@pytest.mark.parametrize(
    ("words", "typed"),
    [
        ([r".venv\Scripts\python", "manage.py", "migrate"], None),
        ([r"C:\Python313\python.exe", "-m", "venv", ".venv"], None),
        ([r"C:\Program Files\py.exe", "-m"], r'& "C:\Program Files\py.exe" -m'),
        (["uv", "pip>=25.1", ".[redis]"], 'uv "pip>=25.1" ".[redis]"'),
        (["cd", r"C:\my sites\x"], r'cd "C:\my sites\x"'),
    ],
)
def test_commands_as_typed_on_windows(
    words: list[str], typed: str | None, load_hook: LoadHook
) -> None:
    hook = load_hook("post_gen_project", system="nt")
    assert hook.PYTHON == r".venv\Scripts\python"
    assert hook.typed(words) == (typed or " ".join(words))
