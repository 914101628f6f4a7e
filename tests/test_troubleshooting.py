"""Errors of the site itself, each provoked: those that docs/troubleshooting.md lists, and others.

Those of Redis and of the database are made from the library's table: tests/outlast.
"""

import dataclasses
import re
import shutil
import subprocess
import sys

import pytest

from tests.conftest import TEMPLATE, Bake, BakedProject

PAGE = TEMPLATE / "{{cookiecutter.project_slug}}" / "docs" / "troubleshooting.md"
SECTION = PAGE.read_text("utf-8").partition("\n## The site\n")[2].partition("\n## ")[0]
# Headings, and the errors below each.
LISTED = dict(re.findall(r"^### ([^\n]*)\n\n```\n([^`]*)\n```$", SECTION, re.MULTILINE))
GET = "from django.test import Client; Client().get('/', headers={'host': 'localhost:8000'})"
POST = (
    "from django.test import Client; Client(enforce_csrf_checks=True).post('/accounts/login/', "
    "secure=True, headers={'host': 'a.example', 'origin': 'https://a.example:8443'})"
)
PLAIN = GET.replace("localhost:8000", "a.example")
URL = "from django.contrib.staticfiles.storage import staticfiles_storage as s; s.url('icon.svg')"
# Code that provokes an error; each runs in the same process, of a site on the profile `database`.
CODE = {
    "Invalid HTTP_HOST header": GET,
    "Too many redirects": PLAIN,
    "Origin checking failed": POST,
    "Missing staticfiles manifest entry": URL,
}
PROGRAM = f"""
import traceback
for heading, code in {CODE!r}.items():
    print("\\f" + heading)
    try:
        exec(code)
    except Exception:
        traceback.print_exc()
"""
# The profile and the command by which others are provoked.
PROVOKED: dict[str, tuple[str, list[str]]] = {
    "DJANGO_PROFILE is not set, but must be one of": ("", ["check"]),
    "REDIS_SENTINELS or REDIS_CLUSTER must be host:port": ("redis-sentinel", ["check"]),
    "references a file which could not be found": ("database", ["collectstatic", "--noinput"]),
}


def manage(site: BakedProject, *arguments: str, **variables: str) -> str:
    """Run Python in a site with strict settings; return all that it prints."""
    strict = {"DJANGO_DEBUG": "0", "DJANGO_SECRET_KEY": "x" * 50, "SITE_URL": "https://a.example"}
    strict["PYTHONPATH"] = str(site.folder / "vendor" / "django-outlast" / "src")
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=site.folder, env=site.variables | strict | variables,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    return done.stdout


@pytest.fixture(scope="module")
def spoilt(site: BakedProject, tmp_path_factory: pytest.TempPathFactory) -> BakedProject:
    """A site with a style sheet that names a lost image."""
    folder = shutil.copytree(site.folder, tmp_path_factory.mktemp("spoilt") / "my-site")
    (folder / "static" / "theme.css").write_text("p { background: url(lost.png) }", "utf-8")
    return dataclasses.replace(site, folder=folder)


@pytest.fixture(scope="module")
def outputs(spoilt: BakedProject) -> dict[str, str]:
    """What each CODE prints, by its heading."""
    command = ["-u", "manage.py", "shell", "-c", PROGRAM]
    output = manage(spoilt, *command, DJANGO_PROFILE="database")
    return dict(part.split("\n", 1) for part in output.split("\f")[1:])


@pytest.mark.parametrize("heading", LISTED)
def test_an_error_is_worded_as_the_page_lists_it(
    heading: str, spoilt: BakedProject, outputs: dict[str, str]
) -> None:
    if heading in CODE:
        output = outputs[heading]
    else:
        profile, arguments = PROVOKED[heading]
        output = manage(spoilt, "manage.py", *arguments, DJANGO_PROFILE=profile)
        assert "Traceback" not in output or arguments[0] != "check"
    assert any(error in output for error in LISTED[heading].splitlines()), output


def test_the_page_has_an_error_below_each_heading() -> None:
    assert len(LISTED) == SECTION.count("\n### ") == len(PROVOKED) + len(CODE)


def test_the_server_prints_a_sentence_too(spoilt: BakedProject) -> None:
    output = manage(spoilt, "-m", "config.serve", PAGE_THREADS="0")
    assert output == "The site cannot start: PAGE_THREADS is 0, but must be at least 1.\n"


def test_settings_can_be_named(spoilt: BakedProject) -> None:
    (spoilt.folder / "own.py").write_text(
        "from config.settings import *\nSLUG = 'mine'\n", "utf-8"
    )
    for option in (["--settings", "own"], ["--settings=own"]):
        output = manage(spoilt, "manage.py", "diffsettings", *option, DJANGO_PROFILE="database")
        assert "SLUG = 'mine'" in output
    for name in ("typo", "config.typo", "typo.settings"):
        output = manage(spoilt, "manage.py", "check", f"--settings={name}")
        assert output.startswith(f"There is no module {name}, as --settings")


def test_what_cannot_be_imported(bake: Bake) -> None:
    site = bake()
    shutil.rmtree(site.folder / "vendor")
    assert manage(site, "manage.py", "check").strip().endswith("git checkout vendor")
    for command in (["manage.py", "check"], ["config/serve.py"]):
        output = manage(site, "-I", "-S", *command)
        assert output.strip().endswith("Did you forget to activate a virtual environment?")
        assert "Traceback" not in output


def test_files_named_in_messages_exist(site: BakedProject) -> None:
    sources = [text.decode() for path, text in site.files.items() if path.endswith(".py")]
    named = set(re.findall(r"\b(?:deploy|docs)/[\w-]+\.\w+", "\n".join(sources)))
    assert named and named <= set(site.files)
