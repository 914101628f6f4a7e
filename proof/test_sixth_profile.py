"""The recipe "Add a profile" of CONTRIBUTING.md, followed on a copy of the template."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from proof.mutations import copy_of_template
from proof.site import TEMPLATE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # runs nox itself

SITE = "{{cookiecutter.project_slug}}"
LIMIT = 600  # seconds for a run of nox; less than the test's own limit, for a better error
# What a person types at each step: the file, the text that is there, the text afterwards.
STEPS = [
    ("cookiecutter.json", '"redis-cluster"]', '"redis-cluster", "memory"]'),
    ("hooks/pre_gen_project.py", '"redis-cluster"]', '"redis-cluster", "memory"]'),
    (
        "cookiecutter.json",
        'needs a Redis Cluster"',
        'needs a Redis Cluster",\n      "memory": "memory: cached here; needs nothing else"',
    ),
    (
        f"{SITE}/config/profiles.py",
        "def redis(env",
        '''def memory(env: Env, var: Path, prefix: str) -> Profile:
    """Sessions in the database; cache and messages within one process."""
    cache = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
    return Profile("outlast.sessions.db", cache, _messages_by_database(env))


def redis(env''',
    ),
    (
        f"{SITE}/config/profiles.py",
        '    "redis-cluster": redis_cluster,',
        '    "redis-cluster": redis_cluster,\n    "memory": memory,',
    ),
    (
        "proof/test_profile.py",
        '    "redis": ({"row", "redis"}, {"redis"}),',
        '    "memory": ({"row"}, set()),\n    "redis": ({"row", "redis"}, {"redis"}),',
    ),
    (f"{SITE}/noxfile.py", '"file", "dummy"]', '"file", "dummy", "memory"]'),
    ("README.md", "| `redis` |", "| `memory` | database | memory | one process |||\n| `redis` |"),
    (f"{SITE}/README.md", "| `redis` |", "| `memory` | database | memory |||\n| `redis` |"),
    (f"{SITE}/.env.example", "redis-sentinel or", "redis-sentinel, memory or"),
]


def nox(template: Path, *arguments: str) -> None:
    """Run nox in the template with the environments of the nox that runs this test."""
    foreign = ("DJANGO_", "PYTEST_", "NOX")
    variables = {name: text for name, text in os.environ.items() if not name.startswith(foreign)}
    variables["NOX_ENVDIR"] = os.environ.get("NOX_ENVDIR", str(TEMPLATE / ".nox"))
    command = [sys.executable, "-m", "nox", *arguments]
    done = subprocess.run(
        command, cwd=template, env=variables, stdin=subprocess.DEVNULL, capture_output=True,
        text=True, check=False, timeout=LIMIT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_profile_by_the_recipe(tmp_path: Path) -> None:
    template = copy_of_template(tmp_path)
    recipe = (TEMPLATE / "CONTRIBUTING.md").read_text("utf-8").replace(f"{SITE}/", "")
    for path, before, after in STEPS:
        text = (template / path).read_text("utf-8")
        assert before in text, f"{path} no longer holds {before!r}"
        (template / path).write_text(text.replace(before, after), "utf-8", newline="\n")
        assert f"`{path.removeprefix(f'{SITE}/')}`" in recipe, f"CONTRIBUTING.md omits {path}"
    nox(template, "-R", "-s", "profile(memory)", "template")
