"""The post_gen hook: settings, steps, what remains after a failure, commands as typed."""

import io
import itertools
import os
import re
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.conftest import Bake

LoadHook = Callable[..., ModuleType]
LABELS = ["First", "Second", "Third"]
MANAGE = ["python", "manage.py"]


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


def plan(hook: ModuleType, monkeypatch: pytest.MonkeyPatch, failing: int | None) -> list[Any]:
    """Let the hook plan steps that make files, of which one fails; return them."""
    programs = ["open({!r}, 'x')", "raise SystemExit('caf\\xe9 is closed')"]
    steps = [
        (f"Making {label}", label, [[sys.executable, "-c", programs[n == failing].format(label)]])
        for n, label in enumerate(LABELS)
    ]
    monkeypatch.setattr(hook, "plan", lambda *_: (MANAGE, steps))
    clock = SimpleNamespace(monotonic=itertools.count(100, 1.5).__next__)
    monkeypatch.setattr(hook, "time", clock)  # each step takes 1.5 s
    return steps


def commands(output: str) -> list[str]:
    """Return the commands at the end of the hook's output."""
    return [line.strip() for line in output.rpartition(":\n\n")[2].splitlines()]


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
        ("DJANGO_PROFILE=file\nDJANGO_PROFILE=dummy\n", None, "dummy (from .env)"),
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


@pytest.mark.parametrize(
    ("source", "named"),
    [('registry = "https://mirror.example.com/simple"', True), ('path = "../wheels"', False),
     ('registry = "https://pypi.org/simple"', False)],
)  # fmt: skip
def test_an_own_index_in_a_lock_is_named(
    source: str,
    named: bool,
    load_hook: LoadHook,
    project: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where uv is set to an internal index, its owner may not want that in the repository."""
    Path("uv.lock").write_text(f"source = {{ {source} }}", "utf-8")
    assert load_hook("post_gen_project", install=False).main() == 0
    output = capsys.readouterr().out
    line = "uv.lock refers to your package index: https://mirror.example.com/simple\n"
    assert (line in output) is ("package index" in output) is named


def test_an_update_only_generates(
    hook: ModuleType, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COOKIECUTTER_DJANGO_PROFILES_INSTALL", "0")
    assert hook.main() == 0
    assert not [*project.iterdir()]


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
    pattern = rf"Making {LABELS[failing]} \.+ failed after 1\.5 s\n\ncaf\u00e9 is closed\n"
    assert re.search(pattern, output)
    assert f"my-site is kept, but a step failed: Making {LABELS[failing]}." in output
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
    assert re.search(r"^Making First \.{27} 1\.5 s$", output, re.MULTILINE)
    assert re.search(r"^Making Second \.{26} skipped, Second exists$", output, re.MULTILINE)
    assert "my-site is ready, with the profile database (from .env). Next:" in output
    ends = ["python manage.py createsuperuser", "python manage.py runserver"]
    assert commands(output) == [hook.typed(["cd", str(project)]), *ends]
    assert Path("Second").read_text() == "mine"


@pytest.mark.parametrize("system", ["posix", "nt"])
@pytest.mark.parametrize("profile", ["redis", "redis-sentinel", "redis-cluster"])
def test_how_to_start_redis(
    profile: str,
    system: str,
    load_hook: LoadHook,
    project: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    hook = load_hook("post_gen_project", system=system, profile=profile, install=False)
    assert hook.main() == 0
    output = capsys.readouterr().out
    assert f"The profile {profile} needs servers: " in output
    assert ("manage.py devredis\n" if system == "posix" else "see docs/windows.md\n") in output


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


def test_lines_are_shown_as_they_come(
    load_hook: LoadHook, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = io.TextIOWrapper(io.BytesIO(), "cp1252")
    monkeypatch.setattr(sys, "stdout", output)
    assert load_hook("post_gen_project", install=False).main() == 0
    assert (output.line_buffering, output.errors) == (True, "replace")


def test_a_console_that_knows_few_letters(bake: Bake) -> None:
    output = bake.folder / "\u6771"
    baked = bake(output=output, variables={"PYTHONIOENCODING": "cp1252"})
    assert baked.exit_code == 0, baked.output
    assert baked.commands[0].strip("\"'").endswith(f"?{os.sep}my-site")
