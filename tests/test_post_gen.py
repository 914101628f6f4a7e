"""The post_gen hook: settings, steps, what remains after a failure, commands as typed."""

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
LABELS = ["First", "Second", "Third"]
MANAGE = ["python", "manage.py"]
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
    for name in ("STRICT", "INSTALL"):
        monkeypatch.delenv(f"COOKIECUTTER_DJANGO_PROFILES_{name}", raising=False)
    monkeypatch.delenv("DJANGO_PROFILE", raising=False)
    return folder


def script(path: Path, text: str) -> str:
    """Write a shell script that stands in for a program; return its path."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def plan(hook: ModuleType, monkeypatch: pytest.MonkeyPatch, failing: int | None) -> list[Any]:
    """Let the hook plan steps that make files, of which one fails; return them."""
    programs = ["open({!r}, 'x')", "raise SystemExit('caf\\xe9 is closed')"]
    steps = [
        (label, label, [[sys.executable, "-c", programs[n == failing].format(label)]])
        for n, label in enumerate(LABELS)
    ]
    monkeypatch.setattr(hook, "plan", lambda *_: (MANAGE, steps))
    return steps


def commands(output: str) -> list[str]:
    """Return the commands at the end of the hook's output."""
    return [line.strip() for line in output.rpartition(":\n\n")[2].splitlines()]


# --- What is planned ---


@pytest.mark.parametrize("system", ["posix", "nt"])
def test_with_uv_the_site_is_locked_and_run_by_uv(system: str, load_hook: LoadHook) -> None:
    manage, steps = load_hook("post_gen_project", system=system).plan(["/base/python"], "uv")
    assert manage == ["uv", "run", "manage.py"]
    assert [commands for *_, commands in steps] == [
        [["uv", "sync", "--python", "/base/python"]],
        [["uv", "run", "manage.py", "migrate"]],
    ]


@pytest.mark.parametrize(
    ("system", "python"), [("posix", ".venv/bin/python"), ("nt", r".venv\Scripts\python.exe")]
)
def test_without_uv_venv_and_pip_do_it(system: str, python: str, load_hook: LoadHook) -> None:
    manage, steps = load_hook("post_gen_project", system=system).plan(["py", "-3.13"], None)
    assert manage == [python, "manage.py"]
    create, install, migrate = (commands for *_, commands in steps)
    assert create == [["py", "-3.13", "-m", "venv", ".venv"]]
    assert all(command[:3] == [python, "-m", "pip"] for command in install)
    assert install[-1][-3:] == [".", "--group", "dev"]
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
    """The environment that `uvx` or pipx made for cookiecutter is no place for a site."""
    monkeypatch.delenv("PROJECT_PYTHON", raising=False)
    if named:
        monkeypatch.setenv("PROJECT_PYTHON", named)
    monkeypatch.setattr(sys, "_base_executable", "/base/python")
    monkeypatch.setattr(hook.shutil, "which", there.get)
    assert hook.find_python() == command


# --- The settings ---


def test_the_settings_of_a_new_project(
    load_hook: LoadHook, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hook = load_hook("post_gen_project", profile="file", install=False)
    assert hook.main() == 0
    assert "is generated, with the profile file (from .env)." in capsys.readouterr().out
    comment, *lines = Path(".env").read_text("utf-8").splitlines()
    assert comment.startswith("# ")
    settings = dict(line.split("=", 1) for line in lines)
    assert settings.keys() == {"DJANGO_PROFILE", "DJANGO_DEBUG", "DJANGO_SECRET_KEY", "SIGN_UP"}
    assert (settings["DJANGO_PROFILE"], settings["DJANGO_DEBUG"]) == ("file", "1")
    assert len(settings["DJANGO_SECRET_KEY"]) >= 50
    assert os.name == "nt" or stat.S_IMODE(Path(".env").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("env", "shell", "said"),
    [
        ("DJANGO_PROFILE=file\n", None, "file (from .env)"),
        ("\ufeffDJANGO_PROFILE='dummy'  # mine\r\n", None, "dummy (from .env)"),
        ("#DJANGO_PROFILE=dummy\nexport DJANGO_PROFILE=file\n", None, "file (from .env)"),
        ("DJANGO_PROFILE=file\n", "dummy", "dummy (from this shell)"),
        ("DJANGO_PROFILE=file\n".encode("utf-16"), None, "file (from .env)"),
        ("mine\n", None, "unset (from .env)"),
    ],
)
def test_the_profile_in_force_is_said(
    env: str | bytes,
    shell: str | None,
    said: str,
    load_hook: LoadHook,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An existing .env is kept, whatever was answered."""
    content = env if isinstance(env, bytes) else env.encode()
    Path(".env").write_bytes(content)
    if shell:
        monkeypatch.setenv("DJANGO_PROFILE", shell)
    assert load_hook("post_gen_project", profile="redis", install=False).main() == 0
    output = capsys.readouterr().out
    assert f"with the profile {said}" in output
    assert "devredis" not in output
    assert Path(".env").read_bytes() == content


@pytest.mark.parametrize("lock", ['source = {{ registry = "{}" }}', 'source = {{ path = "{}" }}'])
def test_the_index_in_a_lock_is_named(
    lock: str, load_hook: LoadHook, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where uv is set to an internal index, its owner may not want that in the repository."""
    index = "https://mirror.example.com/simple"
    Path("uv.lock").write_text(lock.format(index), "utf-8")
    assert load_hook("post_gen_project", install=False).main() == 0
    line = f"uv.lock names the package index it was made with: {index}\n"
    assert (line in capsys.readouterr().out) is ("registry" in lock)


# --- Steps ---


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
    """The project stays; the output names the step, the cause and the remaining commands."""
    steps = plan(hook, monkeypatch, failing)
    monkeypatch.setenv("COOKIECUTTER_DJANGO_PROFILES_STRICT", strict)
    assert hook.main() == int(bool(strict))
    assert {path.name for path in project.iterdir()} == {".env", *LABELS[:failing]}
    output = capsys.readouterr().out
    pattern = rf"{LABELS[failing]} \.+ failed after \d\.\d s\n\ncaf\u00e9 is closed\n"
    assert re.search(pattern, output)
    assert f"my-site is kept, but a step failed: {LABELS[failing]}." in output
    expected = [["cd", str(project)], *(step[2][0] for step in steps[failing:])]
    expected += [[*MANAGE, "createsuperuser"], [*MANAGE, "runserver"]]
    assert commands(output) == [hook.typed(command) for command in expected]


def test_all_goes_well(
    hook: ModuleType,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The output ends with the three commands that lead to the login."""
    plan(hook, monkeypatch, None)
    Path("Second").write_text("mine")
    assert hook.main() == 0
    output = capsys.readouterr().out
    assert re.search(r"^First \.{30,} \d\.\d s$", output, re.MULTILINE)
    assert re.search(r"^Second \.{30,} skipped, Second exists$", output, re.MULTILINE)
    assert "my-site is ready, with the profile database (from .env). Next:" in output
    ends = ["python manage.py createsuperuser", "python manage.py runserver"]
    assert commands(output) == [hook.typed(["cd", str(project)]), *ends]
    assert Path("Second").read_text() == "mine"


@pytest.mark.parametrize("system", ["posix", "nt"])
def test_how_to_start_redis(
    system: str, load_hook: LoadHook, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hook = load_hook("post_gen_project", system=system, profile="redis-sentinel", install=False)
    assert hook.main() == 0
    output = capsys.readouterr().out
    assert ("manage.py devredis\n" if system == "posix" else "See docs/redis.md\n") in output


@pytest.mark.parametrize(
    ("install", "made"), [(True, 3), ("yes", 3), (False, 0), ("no", 0), ("N", 0), ("off", 0)]
)
def test_install_and_migrate_now(
    install: bool | str,
    made: int,
    load_hook: LoadHook,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """cookiecutter 2.6 passes words on; .env is written in any case."""
    hook = load_hook("post_gen_project", install=install)
    plan(hook, monkeypatch, None)
    assert hook.main() == 0
    assert {path.name for path in project.iterdir()} == {".env", *LABELS[:made]}
    assert len(commands(capsys.readouterr().out)) == 3 + (3 - made)


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
    assert baked.commands[0].strip("\"'").endswith(f"?{os.sep}my-site")


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
    assert said.endswith(problem)
    assert bool(said) is bool(problem)


def test_a_program_that_is_not_there_is_named(hook: ModuleType) -> None:
    assert hook.run([["no-such-program"]]).startswith("Cannot start no-such-program: ")


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
