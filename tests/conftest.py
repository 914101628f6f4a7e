"""`bake` generates sites by cookiecutter's command line; `load_hook` imports a rendered hook."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cookiecutter.utils import create_env_with_context

TEMPLATE = Path(__file__).parent.parent
QUESTIONS = json.loads((TEMPLATE / "cookiecutter.json").read_text("utf-8"))
# Answers as hooks get them.
ANSWERS = QUESTIONS | {
    "project_slug": "my-site",
    "__slug_as_typed": "my-site",
    "profile": "database",
}
# Variables of the shell, nox or `uvx` must not influence the tests.
FOREIGN = ("COOKIECUTTER_", "PROJECT_PYTHON", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV")
UV = shutil.which("uv") or shutil.which(os.environ.get("UV") or "uv")


def without_uv(path: str) -> str:
    """Return the PATH without the folders that hold uv."""
    folders = path.split(os.pathsep)
    return os.pathsep.join(folder for folder in folders if not shutil.which("uv", path=folder))


def environment(variables: dict[str, str]) -> dict[str, str]:
    """Return the variables and those of this process, except FOREIGN ones; hide uv."""
    kept = {k: v for k, v in os.environ.items() if k != "UV" and not k.startswith(FOREIGN)}
    return kept | {"PATH": without_uv(os.environ["PATH"])} | variables


def run(
    command: list[str], folder: Path, variables: dict[str, str], typed: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run the command with `typed` as its input, its output and errors in one text."""
    return subprocess.run(
        command,
        cwd=folder,
        env=variables,
        input=typed,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
    )


@dataclass(frozen=True)
class BakedProject:
    """The result of one run of cookiecutter: the project's folder, the output, the exit code."""

    folder: Path
    output: str
    exit_code: int
    variables: dict[str, str]

    def read(self, path: str) -> str:
        """Return the text of a file of the project."""
        return (self.folder / path).read_text("utf-8")

    @functools.cached_property
    def files(self) -> dict[str, bytes]:
        """The content of each file by its path, written with slashes."""
        every = (path for path in self.folder.rglob("*") if path.is_file())
        return {path.relative_to(self.folder).as_posix(): path.read_bytes() for path in every}

    @property
    def commands(self) -> list[str]:
        """The commands that the hook printed last."""
        return [line.strip() for line in self.output.rpartition(":\n\n")[2].splitlines()]

    @property
    def python(self) -> str:
        """The interpreter of the project's `.venv`, or else that of these tests."""
        own = self.folder / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        return str(own) if own.exists() else sys.executable

    def run(self, *arguments: str, **variables: str) -> str:
        """Run the project's Python in its folder; return the output, or fail with it."""
        if self.python == sys.executable:  # which has no library installed
            library = self.folder / "vendor" / "django-outlast" / "src"
            variables = {"PYTHONPATH": str(library), **variables}
        done = run([self.python, *arguments], self.folder, self.variables | variables)
        assert done.returncode == 0, done.stdout
        return done.stdout


class Bake:
    """Runs cookiecutter as a person does, with replay and clone folders of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = folder / "sites"
        self.replay = folder / "replay"
        self.config = folder / "cookiecutter.yaml"
        folders = {"replay_dir": str(self.replay), "cookiecutters_dir": str(folder / "clones")}
        self.config.write_text(json.dumps(folders), "utf-8")

    def __call__(
        self,
        *options: str,
        template: Path | str = TEMPLATE,  # a folder, a .zip, or a repository's address
        output: Path | None = None,
        typed: str | None = None,
        variables: dict[str, str] | None = None,
        **answers: str,
    ) -> BakedProject:
        """Generate a project without installing it, unless `install="yes"`.

        `typed` answers the questions on standard input; without it nothing is asked.
        """
        output = output or self.output
        before = set(output.glob("*"))
        if typed is None and "--replay" not in options:
            answers = {"install": "no", **answers}
            options = ("--no-input", *options)
        command = [sys.executable, "-m", "cookiecutter", str(template), *options]
        command += ["--output-dir", str(output), *(f"{k}={v}" for k, v in answers.items())]
        ours = environment({"COOKIECUTTER_CONFIG": str(self.config), **(variables or {})})
        done = run(command, self.folder, ours, typed or "")
        new = set(output.glob("*")) - before
        folder = new.pop() if len(new) == 1 else output / "my-site"
        return BakedProject(folder, done.stdout, done.returncode, ours)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that generate sites of their own as slow.

    On other systems than Linux only plain nox runs, so tests that install are slow only if marked.
    """
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if "bake" in fixtures and (sys.platform == "linux" or "installer" not in fixtures):
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def bake(tmp_path: Path) -> Bake:
    """Generates projects in `tmp_path / "sites"`."""
    return Bake(tmp_path)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> BakedProject:
    """A project with every default, not installed: to be looked at, not changed."""
    baked = Bake(tmp_path_factory.mktemp("defaults"))()
    assert baked.exit_code == 0, baked.output
    return baked


@pytest.fixture
def template_copy(tmp_path: Path) -> Path:
    """A copy of the template that a test can change."""
    left = shutil.ignore_patterns(".git", ".nox", ".venv", "__pycache__", ".*_cache")
    return Path(shutil.copytree(TEMPLATE, tmp_path / "template", ignore=left))


@pytest.fixture
def load_hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ModuleType]:
    """Returns a hook as a module, rendered for the answers and imported on the system given."""

    def load(name: str, system: str = os.name, **answers: Any) -> ModuleType:
        context = {"cookiecutter": ANSWERS | answers}
        source = (TEMPLATE / "hooks" / f"{name}.py").read_text("utf-8")
        rendered = tmp_path / f"{name}.py"
        rendered.write_text(
            create_env_with_context(context).from_string(source).render(context), "utf-8"
        )
        spec = importlib.util.spec_from_file_location(name, rendered)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)  # where NamedTuple looks it up
        with monkeypatch.context() as patch:
            patch.setattr(os, "name", system)
            spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def hook(load_hook: Callable[..., ModuleType]) -> ModuleType:
    """The post_gen hook of a project with the profile `database`."""
    return load_hook("post_gen_project")


@pytest.fixture(params=["uv", pytest.param("pip", marks=pytest.mark.slow)])
def installer(request: pytest.FixtureRequest) -> str:
    """The name of what installs."""
    return str(request.param)


@pytest.fixture
def variables(installer: str) -> dict[str, str]:
    """The variables under which the hook finds uv, or finds none."""
    if installer == "pip":
        return {}
    assert UV, "There is no uv on this machine: pip install uv"
    return {"UV": UV}
