"""The site's documents for owners: every code block is written to its file, or executed."""

import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proof.site import TEMPLATE, Site
from proof.test_switch import PROFILES

DOCS = TEMPLATE / "{{cookiecutter.project_slug}}" / "docs"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# The file that a block belongs to: `# path`, `// path` or `{# path #}`, perhaps ", at the end".
FILE = re.compile(r"(?:#|//|\{#) ([\w./-]+\.\w+)(, at the end)?(?: #\})?\n")


def follow(site: Site, name: str, *, only_files: bool = False) -> int:
    """Do what a document says, block by block; return the number of blocks."""
    blocks = BLOCK.findall((DOCS / name).read_text("utf-8"))
    for language, text in blocks:
        file = FILE.match(text)
        if file:
            path = site.folder / file[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a" if file[2] else "w", encoding="utf-8") as opened:
                opened.write("\n\n" + text if file[2] else text)
        elif only_files:
            continue
        elif language == "python":
            site.manage("shell", "-c", text)
        else:
            assert language == "console", f"{name}: a block without a file or command: {text!r}"
            for line in text.splitlines():
                execute(site, line)
    return len(blocks)


def execute(site: Site, line: str) -> None:
    """Run a line of a console as a developer does, with DEBUG."""
    command, *arguments = shlex.split(line)
    if line == "pytest":
        arguments = ["tests/test_headers.py"]  # all tests have their session
    program = [sys.executable] if command == "python" else [sys.executable, "-m", command]
    done = site.execute(*program, *arguments, DJANGO_DEBUG="1", SITE_URL="http://localhost:8000")
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize(
    "name",
    [
        *("first-app.md", "packages.md", "api.md", "background.md"),
        *("live.md", "testing.md", "security.md"),
    ],
)
def test_every_block_works(name: str, tmp_path: Path) -> None:
    site = Site(tmp_path, "database", {})
    assert follow(site, name)
    # Pages extend files at their end, and `startapp` leaves imports that are not used.
    execute(site, "ruff check --ignore E402,F401,RUF100")
    with site.running(), site.browser() as browser:
        assert browser.log_in().status_code == 302
        if name == "packages.md":
            allowed = "style-src 'self' 'unsafe-inline'"
            policies = {
                path: browser.get(path).headers["Content-Security-Policy"]
                for path in ("/api/x/", "/dashboard/")
            }
            assert allowed in policies["/api/x/"]
            assert "unsafe" not in policies["/dashboard/"]
        if name == "first-app.md":
            browser.submit("/notes/", {"text": "Buy milk"})
            assert "<li>Buy milk</li>" in browser.get("/notes/").text


SHOP_TESTS = """
from django.core.cache import cache
from django.test import TestCase
from accounts.models import User

class ShopTests(TestCase):
    def test_a_member_sees_the_dashboard(self):
        self.client.force_login(User.objects.create_user("bob@example.com", "secret"))
        self.assertEqual(self.client.get("/dashboard/", secure=True).status_code, 200)
        cache.set("key", {1: "a"})
        self.assertIn(cache.get("key"), [{1: "a"}, None])
"""


def test_the_tests_of_a_new_app_run_on_every_profile(
    start: Callable[[str], Any], tmp_path: Path
) -> None:
    site = Site(tmp_path, "database", {})
    site.manage("startapp", "shop")
    (site.folder / "shop" / "tests.py").write_text(SHOP_TESTS, "utf-8")
    for name in PROFILES:
        servers = start(name)
        site.variables |= {"DJANGO_PROFILE": name, **(servers.environment() if servers else {})}
        done = site.manage("test", "--verbosity=2")  # names the tests, also those of the site
        assert "shop.tests." in done and "\nOK\n" in done, name
    (site.folder / "shop" / "tests.py").write_text(SHOP_TESTS.replace("200", "404"), "utf-8")
    assert "FAILED (failures=1)" in site.run("test").stderr


def test_the_first_app_is_short() -> None:
    text = (DOCS / "first-app.md").read_text("utf-8")
    code = "".join(block for _, block in BLOCK.findall(text))
    assert len(code.splitlines()) <= 60
