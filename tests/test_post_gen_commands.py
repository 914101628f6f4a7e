"""The post_gen hook's commands: which they are, how they run, how they are shown."""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import TEMPLATE, Bake, environment

LoadHook = Callable[..., ModuleType]
posix = pytest.mark.skipif(os.name == "nt", reason="a shell script stands in for a program")


def script(path: Path, text: str) -> str:
    """Write a shell script that stands in for a program; return its path."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


# --- What is planned ---


@pytest.mark.parametrize(
    ("system", "python", "named"),
    [("posix", ["/base/python"], "/base/python"), ("nt", ["py", "-3.13"], "3.13")],
)
def test_with_uv_the_site_is_locked_and_run_by_uv(
    system: str, python: list[str], named: str, load_hook: LoadHook
) -> None:
    manage, steps = load_hook("post_gen_project", system=system).plan(python, "uv")
    assert manage == ["uv", "run", "manage.py"]
    assert [commands for *_, commands in steps] == [
        [["uv", "sync", "--python", named]],
        [["uv", "run", "manage.py", "migrate"]],
    ]


@pytest.mark.parametrize(
    ("system", "python", "library"),
    [("posix", ".venv/bin/python", "./vendor/django-outlast"),
     ("nt", r".venv\Scripts\python.exe", r".\vendor\django-outlast")],
)  # fmt: skip
@pytest.mark.parametrize(("own_pip", "named"), [(True, ""), (True, "3.13"), (False, "")])
def test_without_uv_venv_and_pip_do_it(
    own_pip: bool,
    named: str,
    system: str,
    python: str,
    library: str,
    load_hook: LoadHook,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No ensurepip if cookiecutter's Python, whose pip it uses, is that of the site."""
    hook = load_hook("post_gen_project", system=system)
    monkeypatch.setattr(hook, "find_spec", {"pip": own_pip}.get)
    monkeypatch.setenv("PROJECT_PYTHON", named)
    manage, steps = hook.plan(["py", "-3.13"], None)
    assert manage == [python, "manage.py"]
    [create], [upgrade, install], migrate = (commands for *_, commands in steps)
    spared = own_pip and not named
    assert create == ["py", "-3.13", "-m", "venv", *["--without-pip"][:spared], ".venv"]
    outer = [sys.executable, "-m", "pip", "--python", ".venv"]
    assert upgrade == [*(outer if spared else [python, "-m", "pip"]), "install", "pip>=25.1"]
    assert install == [python, "-m", "pip", "install", "-e", library, ".", "--group", "dev"]
    assert migrate == [[python, "manage.py", "migrate"]]


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
    """`uvx` names its uv in a variable, even where it is not on PATH."""
    monkeypatch.delenv("UV", raising=False)
    if variable:
        monkeypatch.setenv("UV", variable)
    there = {"uv" if on_path else None, "/else/uv"}
    monkeypatch.setattr(hook.shutil, "which", lambda name: name if name in there else None)
    assert hook.find_uv() == found


@pytest.mark.parametrize(
    ("named", "there", "command"),
    [
        (None, {}, ["/base/python"]),
        ("/other/python", {"/other/python": "/other/python"}, ["/other/python"]),
        ("3.13", {"python3.13": "/bin/python3.13"}, ["/bin/python3.13"]),
        ("3.13", {"py.exe": r"C:\Windows\py.exe"}, ["py", "-3.13"]),
        ("3.13", {}, ["3.13"]),
    ],
)
def test_the_python_of_the_project(
    named: str | None,
    there: dict[str, str],
    command: list[str],
    hook: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The hook does not use the environment that `uvx` or pipx made for cookiecutter."""
    monkeypatch.delenv("PROJECT_PYTHON", raising=False)
    if named:
        monkeypatch.setenv("PROJECT_PYTHON", named)
    monkeypatch.setattr(sys, "_base_executable", "/base/python")
    monkeypatch.setattr(hook.shutil, "which", there.get)
    assert hook.find_python() == command


# --- Commands: how they run, how they are shown ---


def test_what_the_shell_has_set_does_not_reach_the_project(
    hook: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = [
        "PYTHONDONTWRITEBYTECODE", "PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV", "DATABASE_URL",
        "DATABASE_URL_FILE", "DJANGO_DEBUG", "DJANGO_SETTINGS_MODULE", "REDIS_URL", "SITE_URL",
        "UV_PROJECT_ENVIRONMENT", "UV_LOCKED",
    ]  # fmt: skip
    for name in [*foreign, "PIP_INDEX_URL", "UV_DEFAULT_INDEX", "HTTPS_PROXY"]:
        monkeypatch.setenv(name, "foreign")
    program = "import json, os, sys; sys.exit(json.dumps(dict(os.environ)))"
    kept = hook.run([[sys.executable, "-E", "-c", program]])
    assert not [name for name in foreign if f'"{name}"' in kept]
    assert kept.count('"foreign"') == 3
    assert '"UV_PYTHON_DOWNLOADS": "never"' in kept


@pytest.mark.parametrize(
    ("program", "problem"),
    [
        ("print('fine')", ""),
        ("raise SystemExit('a reason')", "a reason"),
        ("print(*range(99), sep='\\n'); exit(1)", "\n".join(map(str, range(87, 99)))),
        ("exit(3)", "exit code 3, no output"),
        ("import sys; sys.stdout.buffer.write(b'caf\\xe9'); exit(1)", "caf\ufffd"),
        ("import sys; print('caf\\xe9', file=sys.stderr); exit(1)", "caf\u00e9"),
        ("exit(input())", "EOFError: EOF when reading a line"),  # nothing waits for a person
    ],
)
def test_why_a_command_failed(program: str, problem: str, hook: ModuleType) -> None:
    said = hook.run([[sys.executable, "-c", program]])
    assert said.endswith(problem) and len(said.splitlines()) <= 12
    assert bool(said) is bool(problem)


def test_a_program_that_is_not_there_is_named(hook: ModuleType) -> None:
    said = hook.run([["no-such-program"]])
    assert said.startswith("Cannot start no-such-program: ")
    assert "[" not in said  # as "[Errno 2]"


@pytest.mark.parametrize(
    "words",
    [["uv", "sync"], ["/my site/python", "-c", "print('x'); y = \"z\""], ["a$HOME`b`\\!"],
     ["a;b"], ["pip>=25.1", "'"], [""]],
)  # fmt: skip
def test_commands_as_typed_in_a_posix_shell(words: list[str], load_hook: LoadHook) -> None:
    assert shlex.split(load_hook("post_gen_project", system="posix").typed(words)) == words


@pytest.mark.parametrize(
    ("words", "typed"),
    [
        ([r".venv\Scripts\python.exe", "manage.py", "migrate"], None),
        ([r"C:\Python313\python.exe", "-m", "venv", ".venv"], None),
        ([r"C:\Program Files\py.exe", "-m"], r'& "C:\Program Files\py.exe" -m'),
        (["uv", "pip>=25.1"], 'uv "pip>=25.1"'),
        (["cd", r"C:\my sites\$x"], r'cd "C:\my sites\`$x"'),
    ],
)
def test_commands_as_typed_in_powershell(
    words: list[str], typed: str | None, load_hook: LoadHook
) -> None:
    hook = load_hook("post_gen_project", system="nt")
    assert hook.typed(words) == (typed or " ".join(words))


# --- The whole hook, with programs that fail ---


@posix
def test_a_python_without_venv(bake: Bake, tmp_path: Path) -> None:
    """As Debian splits it: Python is there, venv is not."""
    python = script(
        tmp_path / "python",
        'case "$*" in "-m venv"*) echo "No module named venv"; exit 1;; esac\n'
        f'exec {shlex.quote(sys.executable)} "$@"',
    )
    baked = bake(install="yes", variables={"PROJECT_PYTHON": python})
    assert baked.exit_code == 0, baked.output
    assert re.search(r"Creating \.venv \.+ failed after .* s\n\nNo module named", baked.output)
    create = baked.commands[1].replace(" --without-pip", "")
    assert shlex.split(create) == [python, "-m", "venv", ".venv"]
    assert (baked.folder / "manage.py").exists()


@posix
def test_a_failure_is_fatal_in_strict_mode(bake: Bake, tmp_path: Path) -> None:
    uv = script(tmp_path / "uv", "echo no room; exit 1")
    strict = {"UV": uv, "COOKIECUTTER_DJANGO_PROFILES_STRICT": "1"}
    baked = bake(install="yes", variables=strict)
    assert baked.exit_code != 0
    assert "no room" in baked.output
    assert not list(bake.output.iterdir())
    kept = bake(install="yes", variables={"UV": uv})
    assert kept.exit_code == 0, kept.output
    assert shlex.split(kept.commands[1])[:3] == [uv, "sync", "--python"]


@posix
def test_ctrl_c_keeps_the_project(bake: Bake, tmp_path: Path) -> None:
    uv = script(tmp_path / "uv", "exec sleep 60")
    process = subprocess.Popen(
        [sys.executable, "-m", "cookiecutter", str(TEMPLATE), "--no-input", "-o", str(tmp_path)],
        env=environment({"UV": uv, "COOKIECUTTER_CONFIG": str(bake.config)}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        start_new_session=True,
    )
    output = ""
    assert process.stdout
    with process.stdout:
        while "Installing packages" not in output:
            character = process.stdout.read(1)
            assert character, output
            output += character
        if sys.platform != "win32":
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all in the foreground
        output += process.stdout.read()
    assert process.wait() != 0
    assert "failed after" in output
    assert "interrupted" in output
    assert "manage.py runserver" in output
    assert (tmp_path / "my-site" / "manage.py").exists()
