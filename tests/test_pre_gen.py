"""Refusals: one sentence, and nothing made or removed."""

import ast
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import ANSWERS, QUESTIONS, TEMPLATE, Bake

LoadHook = Callable[..., ModuleType]


@pytest.fixture
def refuse(load_hook: LoadHook) -> Callable[..., str | None]:
    """Returns the sentence against the answers, or None."""

    def refuse(**answers: str) -> str | None:
        # What cookiecutter.json makes of an unusable slug is tested with the questions.
        answers.setdefault("__slug_as_typed", answers.get("project_slug", "my-site"))
        return next(load_hook("pre_gen_project", **answers).refusals(ANSWERS | answers), None)

    return refuse


def test_both_hooks_hold_at_most_300_lines() -> None:
    hooks = [path.read_text("utf-8") for path in (TEMPLATE / "hooks").glob("*.py")]
    assert sum(text.count("\n") for text in hooks) <= 300


def test_the_hook_starts_on_pythons_too_old_for_the_site() -> None:
    source = (TEMPLATE / "hooks" / "pre_gen_project.py").read_text("utf-8")
    ast.parse(source, feature_version=(3, 7))
    assert "from __future__ import annotations" in source


@pytest.mark.parametrize("name", ["pre_gen_project", "post_gen_project"])
def test_a_hook_holds_one_line_of_jinja(name: str) -> None:
    source = (TEMPLATE / "hooks" / f"{name}.py").read_text("utf-8")
    assert len(re.findall(r"\{\{|\{%|\{#", source)) == 1
    assert source.isascii()


@pytest.mark.parametrize("name", ["pre_gen_project", "post_gen_project"])
@pytest.mark.parametrize(
    "answer",
    ["'''\"\"\"'\"", "\\", "\\\\'''", "\\N{DASH}\\x00\\u", "a\nb\r\n\x00", "{{ x }}{% raw %}",
     "\N{PARTY POPPER}\u2028\ud800", "'''); import os; os.abort(); ('''"],
    ids=ascii,
)  # fmt: skip
def test_answers_reach_hooks_as_data(name: str, answer: str, load_hook: LoadHook) -> None:
    private = {"_output_dir": answer, "_template": answer, "_repo_dir": answer}
    hook = load_hook(name, project_name=answer, **private)
    expected = ANSWERS | {"project_name": answer, **private}
    assert expected == hook.ANSWERS


@pytest.mark.parametrize(
    "slug", ["a", "7", "my-site", "my_site", "a1-b2_c3", "a__b", "x" * 64, "console"]
)
def test_good_slugs(slug: str, refuse: Callable[..., str | None]) -> None:
    assert refuse(project_slug=slug) is None


@pytest.mark.parametrize(
    "slug",
    ["", "_", "-x", "x-", "_x", "x_", "My-Site", "my site", "my.site", "x.", "x ", "x\n",
     "caf\u00e9", "x" * 65, "../x", "a/b", "a\\b", "x:y", "x'y", "\u0661", "{{ x }}"],
)  # fmt: skip
def test_slugs_that_are_no_name(slug: str, refuse: Callable[..., str | None]) -> None:
    sentence = refuse(project_slug=slug)
    assert sentence
    assert sentence.startswith(f"project_slug is {slug!a}, but must be ")
    assert sentence.isascii()
    example = re.search("such as '(.*)'", sentence)
    assert example
    assert refuse(project_slug=example[1]) is None


def test_a_slug_that_had_to_be_changed_is_refused_with_an_example(
    refuse: Callable[..., str | None],
) -> None:
    sentence = refuse(__slug_as_typed="My Site", project_slug="my-site")
    assert sentence
    assert sentence.startswith("project_slug is 'My Site', but ")
    assert sentence.endswith("such as 'my-site'.")


@pytest.mark.parametrize("slug", ["con", "prn", "aux", "nul", "com1", "com9", "lpt1", "lpt0"])
def test_devices_of_windows(slug: str, refuse: Callable[..., str | None]) -> None:
    assert "device" in str(refuse(project_slug=slug))


def test_packages_that_the_site_needs(refuse: Callable[..., str | None]) -> None:
    """The site would depend on itself; every dependency of its pyproject.toml is known."""
    text = (TEMPLATE / "{{cookiecutter.project_slug}}" / "pyproject.toml").read_text("utf-8")
    site = tomllib.loads(text)
    groups = [site["project"]["dependencies"], *site["dependency-groups"].values()]
    groups += site["project"]["optional-dependencies"].values()
    names = {re.split(r"[^\w-]", item)[0] for group in groups for item in group}
    assert "django" in names
    for name in names:
        assert "a package that the site needs" in str(refuse(project_slug=name)), name
    assert "a package that the site needs" in str(refuse(project_slug="django_stubs"))


@pytest.mark.parametrize("key", ["project_name", "description", "author"])
@pytest.mark.parametrize("text", ["a\nb", "\x00", "\x1b[31m", "\u2028", "\ud800", "tab\t"])
def test_texts_are_one_line(key: str, text: str, refuse: Callable[..., str | None]) -> None:
    sentence = refuse(**{key: text})
    assert sentence == f"{key} is {text!a}, but must be one line without control characters."


def test_an_unknown_profile(refuse: Callable[..., str | None]) -> None:
    profiles = ", ".join(QUESTIONS["profile"])
    assert refuse(profile="x") == f"profile is 'x', but must be one of {profiles}."


@pytest.mark.parametrize(
    ("version", "refused"), [("1.7.3", True), ("2.5.0", True), ("2.6", False), ("2.7.0rc1", False)]
)
def test_cookiecutters_version(
    version: str,
    refused: bool,
    refuse: Callable[..., str | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cookiecutter.__version__", version)
    assert bool(refuse()) is refused


def test_a_refusal_quotes_no_more_than_eighty_characters(
    refuse: Callable[..., str | None], load_hook: LoadHook
) -> None:
    sentence = refuse(author="\n" + 200 * "x")
    assert sentence and "'\\n" + 76 * "x" + "...'" in sentence
    shown = load_hook("pre_gen_project").shown
    assert (shown(80 * "x"), shown(81 * "x")) == (repr(80 * "x"), repr(77 * "x" + "..."))


@pytest.mark.parametrize(
    "slug", ["../evil", "..", "../../x/y", "/nowhere/evil", "new/evil", "con"]
)
@pytest.mark.parametrize("exists", [True, False], ids=["", "new folder"])
def test_a_refusal_touches_nothing(slug: str, exists: bool, bake: Bake) -> None:
    """cookiecutter removes the project of a failed hook: with "..", that was the folder above."""
    (bake.folder / "other").mkdir()
    (bake.folder / "other" / "file").write_text("precious")
    if exists:
        bake.output.mkdir()
    before = set(bake.folder.rglob("*"))
    baked = bake(project_slug=slug)
    assert baked.exit_code != 0
    assert baked.output.startswith(f"Not generated: project_slug is '{slug}', ")
    ours = {bake.output, bake.replay, *bake.replay.iterdir()}
    assert set(bake.folder.rglob("*")) - before <= ours
    assert not list(bake.output.iterdir())
    assert (bake.folder / "other" / "file").read_text() == "precious"


def test_a_folder_that_exists_is_left_alone(bake: Bake) -> None:
    project = bake.output / "my-site"
    project.mkdir(parents=True)
    (project / "file").write_text("precious")
    baked = bake()
    assert baked.exit_code != 0
    assert baked.output.splitlines()[-1] == f'Error: "{project}" directory already exists'
    refused = bake("--overwrite-if-exists", author="a\nb")
    assert refused.exit_code != 0
    assert [path.name for path in project.iterdir()] == ["file"]


def test_an_output_folder_that_cannot_be_made(bake: Bake) -> None:
    """For example in a read-only folder: the last line is cookiecutter's own error."""
    (bake.folder / "file").write_text("precious")
    baked = bake(output=bake.folder / "file" / "sites")
    assert baked.exit_code != 0
    assert "file" in baked.output.splitlines()[-1]
    assert (bake.folder / "file").read_text() == "precious"


def test_a_stale_mark_never_makes_a_project_new(load_hook: LoadHook, tmp_path: Path) -> None:
    """Otherwise the next hook would remove the .env of an existing project."""
    pre, post = load_hook("pre_gen_project"), load_hook("post_gen_project")
    assert pre.NEW == post.NEW
    project = tmp_path / "project"
    project.mkdir()
    pre.mark_if_new(project)
    assert (project / pre.NEW).exists()
    (project / ".env").touch()
    pre.mark_if_new(project)
    assert [path.name for path in project.iterdir()] == [".env"]


def test_the_refusal_is_ascii_on_any_console(bake: Bake) -> None:
    """The code page of a Windows console has about 250 characters."""
    baked = bake(project_slug="caf\u00e9", variables={"PYTHONIOENCODING": "ascii"})
    assert baked.output.startswith(r"Not generated: project_slug is 'caf\xe9', but must be")
