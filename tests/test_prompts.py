"""The questions: six, each a sentence, each choice with a label."""

import json
import tomllib

import pytest
from cookiecutter.prompt import prompt_for_config

from tests.conftest import QUESTIONS, TEMPLATE, Bake

ASKED = ["project_name", "project_slug", "description", "author", "profile", "install"]


def test_the_readme_names_the_oldest_python() -> None:
    library = TEMPLATE / "{{cookiecutter.project_slug}}/vendor/django-outlast/pyproject.toml"
    project = tomllib.loads(library.read_text("utf-8"))["project"]
    oldest = project["requires-python"].removeprefix(">=")
    assert f"needs Python {oldest} or later" in (TEMPLATE / "README.md").read_text("utf-8")


def test_six_questions_each_a_sentence() -> None:
    assert [name for name in QUESTIONS if not name.startswith("_")] == ASKED
    prompts = dict(QUESTIONS["__prompts__"])
    prompts["profile"] = prompts["profile"]["__prompt__"]
    assert list(prompts) == ASKED
    for sentence in prompts.values():
        assert sentence[0].isupper()
        assert sentence.endswith("?")


def test_each_profile_has_a_label_that_says_what_it_needs() -> None:
    labels = {k: v for k, v in QUESTIONS["__prompts__"]["profile"].items() if k != "__prompt__"}
    assert list(labels) == QUESTIONS["profile"]
    for profile, label in labels.items():
        assert label.startswith(f"{profile}: ")
        assert "needs " in label


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("My Site", "my-site"),
        ("IBM Portal", "ibm-portal"),
        ("It's me", "its-me"),
        ("It\u2019s me", "its-me"),
        ("  Caf\u00e9 \u2014 Z\u00fcrich! ", "cafe-zurich"),
        ("\u6771\u4eac", "dong-jing"),
        ("snake_case", "snake-case"),
        ("x" * 100, "x" * 64),
        ("2048", "2048"),
        ("\N{PARTY POPPER}", "_"),  # which the pre_gen hook refuses
    ],
)
def test_the_slug_is_derived_from_the_name(name: str, slug: str) -> None:
    context = {"cookiecutter": QUESTIONS | {"project_name": name}}
    assert prompt_for_config(context, no_input=True)["project_slug"] == slug


@pytest.mark.parametrize("typed", ["../x", "..", ".", "", "/x", "a/b", "C:\\x", "a:b", "~/x"])
def test_no_answer_for_the_slug_leads_out_of_the_folder(typed: str) -> None:
    """cookiecutter makes the folder before any hook runs, and deletes it if one refuses."""
    context = {"cookiecutter": QUESTIONS | {"project_slug": typed}}
    answers = prompt_for_config(context, no_input=True)
    assert answers["project_slug"]
    assert not set(answers["project_slug"]) & set("./\\:~")
    assert answers["__slug_as_typed"] == typed


def test_answers_typed_by_a_person(bake: Bake) -> None:
    baked = bake(typed="Blue {{ Door }}\nblue-door\n\nIt's me\n4\nn\n")
    assert baked.exit_code == 0, baked.output
    for text in ["[1/6]", "[6/6]", "What is the name of the site?", "4 - redis: in Redis"]:
        assert text in baked.output
    assert baked.folder.name == "blue-door"
    assert "# Blue {{ Door }}\n" in baked.read("README.md")
    assert "DJANGO_PROFILE=redis\n" in baked.read(".env")
    assert not (baked.folder / ".venv").exists()


def test_an_unknown_profile_is_refused_by_cookiecutter(bake: Bake) -> None:
    baked = bake(profile="mongodb")
    assert baked.exit_code != 0
    assert "mongodb provided for choice variable profile" in baked.output.splitlines()[-1]
    assert not bake.output.exists()


def test_answers_of_ones_own_as_defaults(bake: Bake) -> None:
    config = json.loads(bake.config.read_text("utf-8"))
    mine = {"author": "Ada Lovelace", "profile": "file"}
    bake.config.write_text(json.dumps(config | {"default_context": mine}), "utf-8")
    site = bake()
    assert site.exit_code == 0, site.output
    assert "By Ada Lovelace." in site.read("README.md")
    assert "DJANGO_PROFILE=file\n" in site.read(".env")
