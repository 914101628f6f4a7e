"""A site of version 0.1, with its database and files, works after an update to 0.2."""

import io
import json
import os
import shutil
import sqlite3
import subprocess
import zipfile
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from proof.site import EMAIL, PASSWORD
from tests.conftest import TEMPLATE, Bake
from tests.test_update import ONLY_GENERATE, OWN, commands, commit, create, follow, git

COMMIT_OF_0_1 = "66f520c"

SECRET_KEY = "only-for-the-database-of-the-first-edition-in-the-tests-of-updates"  # noqa: S105
CLIENT = """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
import django
django.setup()
from django.test import Client
client = Client(headers={"host": "127.0.0.1"})
"""
LOGGED_IN = f"""{CLIENT}
client.cookies["sessionid"] = sys.argv[1]
assert client.get("/dashboard/").status_code == 200
"""
LOG_IN = f"""{CLIENT}
client.get("/accounts/login/")
form = dict(zip(("username", "password"), sys.argv[1:]))
assert client.post("/accounts/login/", form).status_code == 302
assert client.get("/dashboard/").status_code == 200
"""


def test_the_database_of_version_0_1(bake: Bake) -> None:
    """People stay logged in, the old password logs in, a second migration changes nothing."""
    site = bake()
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    (site.folder / "var").mkdir()
    recorded = (TEMPLATE / "tests" / "site_0_1.sql").read_text("utf-8")
    with closing(sqlite3.connect(site.folder / "var" / "db.sqlite3")) as database:
        database.executescript(recorded)
        database.execute("UPDATE backends_session SET created_at = ?, last_seen = ?", [now, now])
        database.commit()
        ((key,),) = database.execute("SELECT session_key FROM backends_session")
    variables = {"DJANGO_SECRET_KEY": SECRET_KEY}
    site.run("manage.py", "migrate", **variables)
    assert "No migrations to apply" in site.run("manage.py", "migrate", **variables)
    site.run("-c", LOGGED_IN, key, **variables)
    site.run("-c", LOG_IN, EMAIL, PASSWORD, **variables)
    section = (
        (TEMPLATE / "docs" / "update.md").read_text("utf-8").partition("## From 0.1 to 0.2")[2]
    )
    with closing(sqlite3.connect(site.folder / "var" / "db.sqlite3")) as database:
        database.executescript(section.partition("```sql")[2].partition("```")[0])
    site.run("manage.py", "remove_stale_contenttypes", "--noinput", **variables)
    site.run("-c", LOG_IN, EMAIL, PASSWORD, **variables)


@pytest.fixture
def old_template(tmp_path: Path) -> Path:
    """A repository with version 0.1 of the template as v1 and this one as v2."""
    history = ["git", "-C", str(TEMPLATE), "archive", "--format=zip", COMMIT_OF_0_1]
    done = subprocess.run(history, capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"NOT PROVED HERE: version 0.1 ({COMMIT_OF_0_1}) is not in this clone")
    folder = tmp_path / "template"
    with zipfile.ZipFile(io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder)
    git(folder, "init", "--initial-branch=main")
    commit(folder, "Version 0.1")
    git(folder, "tag", "v1")
    for path in folder.iterdir():
        if path.name != ".git":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    left = shutil.ignore_patterns(".git", ".nox", ".venv", "__pycache__", ".*_cache")
    shutil.copytree(TEMPLATE, folder, ignore=left, dirs_exist_ok=True)
    commit(folder, "Version 0.2")
    git(folder, "tag", "v2")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("way", ["cruft", "git"])
def test_a_site_of_version_0_1(way: str, old_template: Path, bake: Bake) -> None:
    """All files become those of version 0.2; the owner's changes and .env stay."""
    site = create(old_template, bake)
    kept = (site.folder / ".env").read_bytes()
    (site.folder / "shop").mkdir()
    (site.folder / "shop" / "models.py").write_text(f"# {OWN}", "utf-8")
    css = site.folder / "static" / "css" / "own.css"
    css.write_text(OWN, "utf-8")
    git(site.folder, "init", "--initial-branch=main")
    commit(site.folder, "The site")
    if way == "cruft":
        site.cruft("update", "--skip-apply-ask", "--checkout=v2", **ONLY_GENERATE)
    elif os.name == "nt":
        pytest.skip("the block is for a POSIX shell")
    else:
        script = [line.replace(" profile=redis", "") for line in commands("With Git alone")]
        follow(script, site.folder, old_template, **{"0_1_0": "v1", "0_2_0": "v2"})
    answers = {}
    if way == "cruft":  # which keeps the answers of version 0.1
        old = json.loads((site.folder / ".cruft.json").read_text("utf-8"))["context"]
        answers = {"description": old["cookiecutter"]["description"]}
    new = bake(template=old_template, output=bake.folder / "new", **answers).files
    for path in (".env", "var"):
        new.pop(path, None)
    updated = {
        path.relative_to(site.folder).as_posix(): path.read_bytes()
        for path in site.files("*")
        if path.is_file() and path.name != ".cruft.json"
    }
    assert updated.pop(".env") == kept
    assert {p for p in new if updated.get(p) != new[p]} == set()
    assert updated.keys() - new.keys() == {"shop/models.py", "static/css/own.css"}
