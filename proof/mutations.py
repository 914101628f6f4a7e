"""Break the template on purpose: exactly the sessions that should notice turn red.

    nox -s mutations              all of them
    nox -s mutations -- layer     those whose name holds a word

Each mutation is applied to a copy of the template, on which plain `nox` then runs. What is alike
on every profile, `config/profiles.py` itself among it, is tested in the first profile's session.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

TEMPLATE = Path(__file__).parent.parent
SITE = "{{cookiecutter.project_slug}}"
PROFILES = json.loads((TEMPLATE / "cookiecutter.json").read_text("utf-8"))["profile"]


class Mutation(NamedTuple):
    """A text in a file, what replaces it once, and the sessions that must turn red."""

    name: str
    path: str
    old: str
    new: str
    red: set[str]


MUTATIONS = [
    Mutation(
        "session engine of redis",
        f"{SITE}/config/profiles.py",
        """        session_engine=_redis_sessions(env),
        caches={
            "default": {
                "BACKEND": "outlast.cache.RedisCache",
                "LOCATION": url,""",
        """        session_engine="outlast.sessions.db",
        caches={
            "default": {
                "BACKEND": "outlast.cache.RedisCache",
                "LOCATION": url,""",
        {"profile(database)", "profile(redis)"},
    ),
    Mutation(
        "cache of database",
        f"{SITE}/config/profiles.py",
        "django.core.cache.backends.db.DatabaseCache",
        "django.core.cache.backends.locmem.LocMemCache",
        {"profile(database)"},
    ),
    Mutation(
        "cache folder of file",
        f"{SITE}/config/profiles.py",
        '"LOCATION": var / "cache"',
        '"LOCATION": var / "elsewhere"',
        {"profile(database)", "profile(file)"},
    ),
    Mutation(
        "channel layer of redis-sentinel",
        f"{SITE}/config/profiles.py",
        """                "BACKEND": "outlast.channels.redis.PubSubLayer",
                "CONFIG": {
                    "hosts": [
                        {""",
        """                "BACKEND": "outlast.channels.local.LocalLayer",
                "CONFIG_": {
                    "hosts": [
                        {""",
        # Logging in to either kind of server is tested in the session of the first Redis profile.
        {"profile(database)", "profile(redis)", "profile(redis-sentinel)"},
    ),
    Mutation(
        "the hook's migrate",
        "hooks/post_gen_project.py",
        '"migrate"',
        '"check"',
        {"hook(uv)", "hook(pip)", "template"},
    ),
    Mutation(
        "cache table",
        f"{SITE}/vendor/django-outlast/src/outlast/apps.py",
        "post_migrate.connect(",
        "post_migrate.disconnect(",
        # It is there on all of them, so that the profile can be switched without another migrate.
        {f"profile({name})" for name in PROFILES},
    ),
    Mutation(
        "file sessions where Django puts them",
        f"{SITE}/config/settings.py",
        'SESSION_FILE_PATH = VAR / "sessions"',
        "SESSION_FILE_PATH = None",
        # Types say that it is a path, and `switch` logs in on every profile.
        {"lint", "profile(file)", "switch"},
    ),
]


def red_sessions(mutation: Mutation) -> set[str]:
    """Return the sessions of plain nox that fail on a copy with the mutation."""
    with tempfile.TemporaryDirectory(prefix="mutation ") as folder:
        copy = Path(folder) / "template"
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=TEMPLATE, capture_output=True, text=True, check=True
        ).stdout
        for name in filter(None, listed.split("\0")):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(TEMPLATE / name, copy / name)
        (copy / ".nox").symlink_to(TEMPLATE / ".nox", target_is_directory=True)
        path = copy / mutation.path
        text = path.read_text("utf-8")
        if mutation.old not in text:
            sys.exit(
                f"{mutation.path} no longer holds what the mutation {mutation.name!r} breaks."
            )
        path.write_text(text.replace(mutation.old, mutation.new, 1), "utf-8", newline="\n")
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "nox", "-R", f"--report={report}"]
        done = subprocess.run(
            command, cwd=copy, capture_output=True, text=True, check=False, env=os.environ,
            timeout=1800,
        )  # fmt: skip
        if not report.exists():
            sys.exit(f"nox itself failed:\n{done.stdout}{done.stderr}")
        sessions = json.loads(report.read_text("utf-8"))["sessions"]
        failed = (each["signatures"][0] for each in sessions if each["result"] == "failed")
        return set(failed)


def main(words: list[str]) -> int:
    """Apply the mutations whose name holds one of `words`; return how many went wrong."""
    wrong = 0
    for mutation in MUTATIONS:
        if words and not any(word in mutation.name for word in words):
            continue
        red = red_sessions(mutation)
        verdict = "as it should" if red == mutation.red else f"WRONG, expected {mutation.red}"
        wrong += red != mutation.red
        print(
            f"{mutation.name:40} red: {', '.join(sorted(red)) or 'none'} ({verdict})", flush=True
        )
    return wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
