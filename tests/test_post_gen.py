"""What the post_gen hook does, step by step, and what it says when a step fails."""

import io
import os
import re
import shlex
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.conftest import TEMPLATE, Bake, environment

LoadHook = Callable[..., ModuleType]
posix = pytest.mark.skipif(os.name == "nt", reason="a shell script stands in for a program")


@pytest.fixture
def hook(load_hook: LoadHook) -> ModuleType:
    """The hook of a project with the profile `database`."""
    return load_hook("post_gen_project")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project, which is the current folder."""
    folder = tmp_path / "my site"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("COOKIECUTTER_DJANGO_PROFILES_STRICT", raising=False)
    monkeypatch.delenv("COOKIECUTTER_DJANGO_PROFILES_INSTALL", raising=False)
    return folder


def script(path: Path, text: str) -> str:
    """Write a shell script that stands in for a program; return its path."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_the_settings_of_a_new_project(hook: ModuleType, project: Path) -> None:
    step = hook.plan("file", sys.executable, None)[0]
    assert hook.carry_out([step]) == []
    comment, *lines = Path(".env").read_text("utf-8").splitlines()
    assert comment.startswith("# ")
    settings = dict(line.split("=", 1) for line in lines)
    assert settings.keys() == {"DJANGO_PROFILE", "DJANGO_DEBUG", "DJANGO_SECRET_KEY"}
    assert settings["DJANGO_PROFILE"] == "file"
    assert settings["DJANGO_DEBUG"] == "1"
    assert len(settings["DJANGO_SECRET_KEY"]) >= 50
    assert os.name == "nt" or stat.S_IMODE(Path(".env").stat().st_mode) == 0o600
    assert hook.run(step.commands)  # a second time: it exists
    assert Path(".env").read_text("utf-8").endswith(lines[-1] + "\n")


LABELS = ["First", "Second", "Third"]


def steps(hook: ModuleType, failing: int | None) -> list[Any]:
    """Return steps that make files, of which one fails."""
    programs = ["open({!r}, 'x')", "raise SystemExit('caf\\xe9 is closed')"]
    return [
        hook.Step(label, label, [[sys.executable, "-c", programs[n == failing].format(label)]])
        for n, label in enumerate(LABELS)
    ]


@pytest.mark.parametrize("strict", ["", "1"])
@pytest.mark.parametrize("failing", range(len(LABELS)))
def test_a_step_that_fails(
    failing: int,
    strict: str,
    hook: ModuleType,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The project stays, with the name of the step, why, and the commands from there on."""
    planned = steps(hook, failing)
    monkeypatch.setattr(hook, "plan", lambda *_: planned)
    monkeypatch.setenv("COOKIECUTTER_DJANGO_PROFILES_STRICT", strict)
    assert hook.main() == int(bool(strict))
    assert sorted(path.name for path in project.iterdir()) == sorted(LABELS[:failing])
    output = capsys.readouterr().out
    assert re.search(
        rf"{LABELS[failing]} \.+ failed after \d\.\d s\n\ncaf\u00e9 is closed\n", output
    )
    assert f"my-site is kept, although this failed: {LABELS[failing]}." in output
    commands = output.rpartition(":\n\n")[2].splitlines()
    ends = ["manage.py createsuperuser", "manage.py runserver"]
    assert [shlex.split(line) for line in commands] == [
        ["cd", str(project)],
        *(command for step in planned[failing:] for command in step.commands),
        *([hook.PYTHON, *end.split()] for end in ends),
    ]


def test_all_goes_well(
    hook: ModuleType,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It ends with the three commands that lead to the login."""
    monkeypatch.setattr(hook, "plan", lambda *_: steps(hook, None))
    Path("Second").write_text("mine")
    assert hook.main() == 0
    output = capsys.readouterr().out
    assert re.search(r"^First \.{30,} \d\.\d s$", output, re.MULTILINE)
    assert re.search(r"^Second \.{30,} Second is left as it is$", output, re.MULTILINE)
    assert "my-site is there, with the profile database." in output
    assert "devredis" not in output
    commands = output.rpartition(":\n\n")[2].splitlines()
    expected = [hook.typed(["cd", str(project)])]
    expected += [f"{hook.PYTHON} manage.py {name}" for name in ("createsuperuser", "runserver")]
    assert [line.strip() for line in commands] == expected
    assert Path("Second").read_text() == "mine"


@pytest.mark.parametrize("profile", ["redis", "redis-sentinel"])
def test_how_to_start_redis(
    profile: str, load_hook: LoadHook, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hook = load_hook("post_gen_project", profile=profile, install=False)
    assert hook.main() == 0
    assert f"    {hook.PYTHON} manage.py devredis\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("install", "wanted"), [(True, 3), ("yes", 3), (False, 1), ("no", 1), ("N", 1), ("off", 1)]
)
def test_install_and_migrate_now(
    install: bool | str,
    wanted: int,
    load_hook: LoadHook,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """cookiecutter 2.6 hands words over; the settings are written in any case."""
    hook = load_hook("post_gen_project", install=install)
    monkeypatch.setattr(hook, "plan", lambda *_: steps(hook, None))
    assert hook.main() == 0
    assert sorted(path.name for path in project.iterdir()) == LABELS[:wanted]
    commands = capsys.readouterr().out.rpartition(":\n\n")[2].splitlines()
    assert len(commands) == 3 + (3 - wanted)


def test_an_existing_env_does_not_make_the_hook_install(
    load_hook: LoadHook, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = load_hook("post_gen_project", install=False)
    monkeypatch.setattr(hook, "plan", lambda *_: steps(hook, None))
    Path("First").touch()
    assert hook.main() == 0
    assert [path.name for path in project.iterdir()] == ["First"]


def test_only_patterns_of_gitignore_name_leftovers(hook: ModuleType, project: Path) -> None:
    Path(".gitignore").write_text("# what is left\n\n!kept\n*.log\nvar/\n")
    Path("apps/var").mkdir(parents=True)
    for name in ("kept", "1.log", "apps/2.log", "apps/var/x", "# what is left"):
        Path(name).touch()
    hook.remove_leftovers()
    left = {path.as_posix() for path in Path().rglob("*")}
    assert left == {".gitignore", "kept", "apps", "# what is left"}


def test_output_that_is_no_console(
    load_hook: LoadHook, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = io.StringIO()
    monkeypatch.setattr(sys, "stdout", output)
    assert load_hook("post_gen_project", install=False).main() == 0
    assert "manage.py runserver" in output.getvalue()


def test_a_console_that_knows_few_letters(bake: Bake) -> None:
    output = bake.folder / "\u6771"
    baked = bake(output=output, variables={"PYTHONIOENCODING": "cp1252"})
    assert baked.exit_code == 0, baked.output
    assert baked.commands[0].rstrip('"').endswith(f"?{os.sep}my-site")


# --- The whole hook, with programs that fail ---


@posix
def test_a_python_without_pip(bake: Bake, tmp_path: Path) -> None:
    """As Debian splits it: venv is there, ensurepip is not."""
    python = script(
        tmp_path / "python",
        'case "$*" in "-m venv"*) echo "ensurepip is not available."; exit 1;; esac\n'
        f'exec {shlex.quote(sys.executable)} "$@"',
    )
    baked = bake(install="yes", variables={"PROJECT_PYTHON": python})
    assert baked.exit_code == 0, baked.output
    assert re.search(r"Creating \.venv \.+ failed after .* s\n\nensurepip is not", baked.output)
    assert shlex.split(baked.commands[1]) == [python, "-m", "venv", ".venv"]
    assert (baked.folder / "manage.py").exists()


@posix
def test_a_failure_is_fatal_where_nobody_reads(bake: Bake, tmp_path: Path) -> None:
    uv = script(tmp_path / "uv", "echo no room; exit 1")
    strict = {"UV": uv, "COOKIECUTTER_DJANGO_PROFILES_STRICT": "1"}
    baked = bake(install="yes", variables=strict)
    assert baked.exit_code != 0
    assert "no room" in baked.output
    assert not list(bake.output.iterdir())
    kept = bake(install="yes", variables={"UV": uv})
    assert kept.exit_code == 0, kept.output
    assert shlex.split(kept.commands[1])[:3] == [uv, "venv", "--python"]


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
        while "Creating .venv" not in output:
            character = process.stdout.read(1)
            assert character, output
            output += character
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all in the foreground
        output += process.stdout.read()
    assert process.wait() != 0
    assert "failed after" in output
    assert "interrupted" in output
    assert "manage.py runserver" in output
    assert (tmp_path / "my-site" / "manage.py").exists()
