"""What is generated: a plain copy of the site, but for the few files that are rendered."""

import json
import re
import tomllib
import zipfile
from pathlib import Path

import pytest
from cookiecutter.generate import is_copy_only_path

from tests.conftest import QUESTIONS, TEMPLATE, Bake, BakedProject

SITE = TEMPLATE / "{{cookiecutter.project_slug}}"
RENDERED = {"pyproject.toml", "README.md", ".env.example", "compose.yaml", "Dockerfile"}

WRITTEN = {".env", "vendor/django-outlast/MANIFEST"}  # by the hook


def is_rendered(path: str) -> bool:
    """Tell whether cookiecutter renders the file or folder of that path, or only copies it."""
    return not is_copy_only_path(path, {"cookiecutter": QUESTIONS})


def test_exactly_the_named_files_are_rendered(site: BakedProject) -> None:
    generated = set(site.files) - WRITTEN
    assert {path for path in generated if is_rendered(path)} == RENDERED & generated


def test_no_folder_is_copied_whole(site: BakedProject) -> None:
    """cookiecutter would remove it from an existing project first."""
    folders = {str(parent) for path in site.files for parent in Path(path).parents}
    assert {folder for folder in folders if not is_rendered(folder)} == set()


def test_kinds_of_files_that_are_copied() -> None:
    for path in ("static/img/picture.png", ".github/workflows/ci.yml", "deploy/a.conf"):
        assert not is_rendered(path)


def test_copied_files_are_the_templates(site: BakedProject) -> None:
    for path, content in site.files.items():
        if path not in RENDERED | WRITTEN:
            assert content == (SITE / path).read_bytes(), path
    assert b"${{" in site.files[".github/workflows/ci.yml"]


def test_rendered_files_hold_plain_answers_only(site: BakedProject) -> None:
    for path in RENDERED & set(site.files):
        source = (SITE / path).read_text("utf-8")
        names = "project_slug|__title" if path == "pyproject.toml" else "|".join(QUESTIONS)
        for token in re.findall(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", source):
            assert re.fullmatch(rf"\{{\{{ cookiecutter\.({names}) \}}\}}", token), (path, token)


@pytest.mark.parametrize(
    "name",
    ["IBM Portal", "It's me", "Café Zürich", 'Say "hi" \\now', "\\u0041 \\", "<b> & 🚀"],
)
def test_the_name_is_shown_as_typed(bake: Bake, name: str) -> None:
    project = bake(project_name=name, project_slug="site")
    assert tomllib.loads(project.read("pyproject.toml"))["tool"]["site"]["title"] == name


def test_no_jinja_of_ours_in_code_and_pages(site: BakedProject) -> None:
    for path in site.files:
        if path.endswith((".py", ".html")):
            assert not re.search(r"cookiecutter\s*\.", site.read(path)), path


def test_both_readmes_show_the_tree_of_a_site(site: BakedProject) -> None:
    """A line for each folder at the top."""
    lines = site.read("README.md").partition("## What is where\n\n```\n")[2].partition("```")[0]
    assert lines in (TEMPLATE / "README.md").read_text("utf-8")
    listed = [line.split()[0] for line in lines.splitlines()]
    assert set(listed) == {path.partition("/")[0] + "/" for path in site.files if "/" in path}


def test_pages_name_files_that_are_there(site: BakedProject) -> None:
    page = (TEMPLATE / "CONTRIBUTING.md").read_text("utf-8")
    table = page.partition("| change | file |\n|---|---|\n")[2].partition("\n\n")[0]
    paths = re.findall(r"`([\w./-]+)`(?:, of the template)? \|$", table, re.MULTILINE)
    assert len(paths) == len(table.splitlines()) >= 10
    assert set(paths) <= set(site.files) | {"cookiecutter.json"}
    for name in re.findall(r"`((?:redis/)?test_\w+\.py)`", site.read("docs/security.md")):
        assert f"tests/{name}" in site.files


def test_the_sites_own_checks_know_the_profiles(site: BakedProject) -> None:
    named = set(re.findall('"([a-z-]+)"', site.read("noxfile.py").partition("VARIABLES")[0]))
    assert set(QUESTIONS["profile"]) <= named


def test_line_endings_and_names_suit_every_system(site: BakedProject) -> None:
    for path, content in site.files.items():
        assert b"\0" in content or b"\r" not in content, path
        assert not re.search(r'[<>:"|?*\\]|[ .](/|$)', path), path


def test_answers_reach_the_project(bake: Bake) -> None:
    baked = bake(project_name="Blue Door", description="A shop.", profile="redis-sentinel")
    project = tomllib.loads(baked.read("pyproject.toml"))["project"]
    assert baked.folder.name == project["name"] == "blue-door"
    assert "Blue Door" in baked.read("README.md")
    assert "A shop." in baked.read("README.md")
    assert "DJANGO_PROFILE=redis-sentinel" in baked.read(".env.example")
    assert "DJANGO_PROFILE=redis-sentinel\n" in baked.read(".env")


def test_profiles_are_those_of_the_site(site: BakedProject) -> None:
    program = "from config.profiles import PROFILES; print(*PROFILES)"
    assert site.run("-B", "-c", program).split() == QUESTIONS["profile"]


@pytest.mark.parametrize(
    ("name", "description", "author"),
    [
        ("""It's "quoted", and ''' too""", "../../../etc/passwd", "<script>alert(1)</script> &"),
        (r"C:\new \N{DASH} \x00 \u0041 \\", "braces { } }} %} #} {0} ${HOME}", "{{ 6 * 7 }}"),
        (
            "\N{PARTY POPPER} \N{WOMAN}\N{ZERO WIDTH JOINER}\N{ROCKET}",
            "\u6771\u4eac",
            "Gr\u00f6\u00dfe",
        ),
        (
            "very long " * 500 + "name",
            # click itself expands variables that are set, on Windows.
            "$(touch x) `touch x` ; touch x %UNSET%",
            "-f --help = null #",
        ),
    ],
    ids=["quotes", "escapes", "letters", "shells"],
)
def test_hostile_answers_are_only_text(
    name: str, description: str, author: str, bake: Bake, site: BakedProject
) -> None:
    """Only the README shows that the site has a strange name."""
    baked = bake(project_name=name, description=description, author=author, project_slug="my-site")
    assert baked.exit_code == 0, baked.output
    assert set(bake.output.iterdir()) == {baked.folder}
    assert set(baked.files) == set(site.files)
    differing = {path for path in site.files if baked.files[path] != site.files[path]}
    assert differing == {".env", "README.md", "pyproject.toml"}
    assert name in baked.read("README.md")
    assert description in baked.read("README.md")


@pytest.mark.parametrize("answer", ["{{ nothing }}", "{% if"])
def test_an_answer_that_is_broken_jinja_is_refused(answer: str, bake: Bake) -> None:
    """cookiecutter takes the answers of its command line for templates."""
    baked = bake(project_name=answer)
    assert baked.exit_code != 0
    assert re.search("'nothing' is undefined|TemplateSyntaxError: ", baked.output)
    assert not bake.output.exists()


def test_leftovers_of_the_templates_folder_stay_there(bake: Bake, template_copy: Path) -> None:
    planted = {
        ".env": "DJANGO_SECRET_KEY=left lying about",
        "var/x": "left lying about",
        "var/mail/1.log": "left lying about {{",
        "var/db.sqlite3": "left lying about",
        ".venv/bin/activate": "left lying about ${#prompt} {% raw",
        ".venv/lib/python3.11/site-packages/jinja2.dist-info/METADATA": "left lying about {{ x }}",
        "apps/__pycache__/models.cpython-311.pyc": "left lying about",
        "accounts/stale.pyc": "left lying about",
        ".pytest_cache/v/cache/lastfailed": "left lying about {{",
        ".ruff_cache/0.12/1": "left lying about",
        ".coverage": "left lying about",
        "htmlcov/index.html": "left lying about",
    }
    for path, text in planted.items():
        file = template_copy / SITE.name / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    baked = bake(template=template_copy)
    assert baked.exit_code == 0, baked.output
    assert [path for path, content in baked.files.items() if b"left lying about" in content] == []
    left = {path.name for path in baked.folder.rglob("*")}
    assert left.isdisjoint({".venv", "var", "__pycache__", ".pytest_cache", ".ruff_cache"})
    assert "DJANGO_SECRET_KEY=" in baked.read(".env")


def test_generating_over_a_project_keeps_what_is_its_own(bake: Bake) -> None:
    baked = bake()
    own = {".env": "mine", "var/x": "mine", ".venv/pyvenv.cfg": "mine", "notes.txt": "mine"}
    for path, text in own.items():
        (baked.folder / path).parent.mkdir(exist_ok=True)
        (baked.folder / path).write_text(text)
    again = bake("--overwrite-if-exists", install="yes")
    assert again.exit_code == 0, again.output
    assert {path: baked.read(path) for path in own} == own
    assert again.output.count("skipped, ") == 3


def test_an_update_by_cruft_sees_nothing_of_one_copy(bake: Bake) -> None:
    """cruft generates the old and the new version in temporary folders, and compares them."""
    baked = bake(install="yes", variables={"COOKIECUTTER_DJANGO_PROFILES_INSTALL": "0"})
    assert (baked.exit_code, baked.output) == (0, "")
    names = {path.name for path in baked.folder.iterdir()}
    assert names.isdisjoint({".env", ".venv", "var", ".cookiecutter-new"})
    skipped = tomllib.loads(baked.read("pyproject.toml"))["tool"]["cruft"]["skip"]
    assert {".env", ".venv", "uv.lock", "var"} <= set(skipped)


def test_a_zip_of_the_template_will_do(bake: Bake, tmp_path: Path, template_copy: Path) -> None:
    archive = tmp_path / "template main.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.mkdir("template-main")
        for path in template_copy.rglob("*"):
            file.write(path, "template-main" / path.relative_to(template_copy))
    baked = bake(template=archive)
    assert baked.exit_code == 0, baked.output
    assert (baked.folder / "manage.py").exists()


def test_spaces_and_letters_of_other_languages_in_paths(bake: Bake, template_copy: Path) -> None:
    template = template_copy.rename(template_copy.with_name("our t\u00e9mplate"))
    output = bake.folder / "m\u00fd sites \u6771"
    baked = bake(template=template, output=output, variables={"PYTHONIOENCODING": "utf-8"})
    assert baked.exit_code == 0, baked.output
    baked.run("manage.py", "check", "--fail-level", "WARNING")
    assert baked.commands[0] in (f"cd '{baked.folder}'", f'cd "{baked.folder}"')


def test_a_replay_generates_the_same_and_knows_no_secret(bake: Bake) -> None:
    first = bake(project_name="Replayed", profile="file")
    (replay,) = bake.replay.iterdir()
    secret = re.search("DJANGO_SECRET_KEY=(.*)", first.read(".env"))
    assert secret and secret[1] not in replay.read_text("utf-8")
    again = bake("--replay", output=bake.folder / "elsewhere")
    assert again.exit_code == 0, again.output
    assert set(again.files) == set(first.files)
    assert {p for p in first.files if again.files[p] != first.files[p]} == {".env"}


def test_a_profile_from_a_replay_file_is_checked(bake: Bake) -> None:
    bake()
    (replay,) = bake.replay.iterdir()
    context = json.loads(replay.read_text("utf-8"))
    context["cookiecutter"]["profile"] = "mongodb"
    context["cookiecutter"]["_profiles"] = ["mongodb"]
    replay.write_text(json.dumps(context), "utf-8")
    again = bake("--replay", output=bake.folder / "elsewhere")
    assert again.exit_code != 0
    assert again.output.startswith("Not generated: profile is 'mongodb', but must be one of ")
    assert not list((bake.folder / "elsewhere").iterdir())
