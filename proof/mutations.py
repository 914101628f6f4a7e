"""Break one feature at a time: exactly the nox sessions that test it must fail.

    nox -s mutations                 all of them
    nox -s mutations -- throttle     those whose name contains a word
    nox -s mutations -- --named      run only the sessions that must turn red
    nox -s mutations -- --check      only find the texts that they replace

Each mutation is applied to a copy of the template, on which the sessions of plain `nox` then run.
What is the same on every profile is tested in the first profile's session.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from tests.voice import SITE, TEMPLATE, files

PROFILES = json.loads((TEMPLATE / "cookiecutter.json").read_text("utf-8"))["profile"]


class Mutation(NamedTuple):
    """A text that one file has, what replaces it, and the sessions that must turn red."""

    name: str
    old: str
    new: str
    red: set[str]


EVERY_PROFILE = {f"profile({name})" for name in PROFILES}
OF_REDIS = {name for name in EVERY_PROFILE if "redis" in name}
# What plain nox runs, but for styles and types, which a mutation may break as well.
PLAIN = ["library", "template", *sorted(EVERY_PROFILE)]
MUTATIONS = [
    Mutation(
        "identity: a changed password ends a session",
        "return user if constant_time_compare(given, expected) else None",
        "return user",
        {"library"},
    ),
    Mutation(
        "sessions end by their row's times",
        "if self.row is None or self.row.ends_at() <= timezone.now():",
        "if self.row is None:",
        {"library"},
    ),
    Mutation(
        "names of sessions are hashes",
        'return hashlib.sha256(" ".join(parts).encode()).hexdigest()',
        'return "-".join(parts)',
        {"library", "profile(file)", *OF_REDIS},
    ),
    Mutation(
        "a copy counts by the version of its row",
        "{session.session_key} {session.version}",
        "{session.session_key}",
        {"library"},
    ),
    Mutation(
        "copies are written after the commit",
        "transaction.on_commit(copy, using=self.rows().db)",
        "copy()",
        {"library"},
    ),
    Mutation(
        "signature of cached values",
        "if hmac.compare_digest(mac, _mac(secret, key, payload)):",
        "if mac:",
        {"library"},
    ),
    Mutation(
        "errors about data do not open the breaker",
        'return (error.status_code or str(error).partition(" ")[0]) in UNUSABLE',
        "return True",
        {"library"},
    ),
    Mutation(
        "senders of live messages wait 0.3 s at most",
        "SEND_SECONDS = 0.3",
        "SEND_SECONDS = 30",
        {"library"},
    ),
    Mutation(
        "they wait so long in all, and not for each reply",
        "asyncio.wait(wrapped, timeout=SEND_SECONDS)",
        "asyncio.wait(wrapped, timeout=None)",
        {"library"},
    ),
    Mutation(
        "pages run in a fixed pool of threads",
        "and self.started < self.limit",
        "",
        {"library"},
    ),
    Mutation(
        "/readyz has threads of its own",
        'threads = self.probes if path in ("/readyz", "/metrics") else self.pages',
        "threads = self.pages",
        {"library"},
    ),
    Mutation(
        "cookies count by their exact names",
        "request.COOKIES = others | exact_cookies(header)",
        "pass",
        {"library", "profile(database)"},
    ),
    Mutation(
        "the throttle asks again after the hash",
        "throttle.look()  # many",
        "pass  # a thousand",
        {"profile(database)"},
    ),
    Mutation(
        "only superusers change rights in the admin",
        "return fields if request.user.is_superuser else (*fields, *self.rights)",
        "return fields",
        {"profile(database)"},
    ),
    Mutation(
        "session engine of redis",
        'return Profile("outlast.sessions.redis", cache, layer)',
        'return Profile("outlast.sessions.db", cache, layer)',
        OF_REDIS,
    ),
    Mutation(
        "cache folder of file",
        '"LOCATION": var / "cache"',
        '"LOCATION": var / "elsewhere"',
        {"profile(file)"},
    ),
    Mutation(
        "the hook's migrate",
        '"migrate"',
        '"check"',
        {"template"},
    ),
    Mutation(
        "cache table",
        "pre_migrate.connect(create_cache_table",
        "pre_migrate.disconnect(create_cache_table",
        # It is there on all profiles, so that one can be switched to without another migrate.
        EVERY_PROFILE,
    ),
]


def copy_of_template(folder: Path) -> Path:
    """Copy the template, with the environment that nox has made."""
    copy = folder / "template"
    for name in files():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(TEMPLATE / name, copy / name)
    (copy / ".nox").symlink_to(TEMPLATE / ".nox", target_is_directory=True)
    return copy


def place_of(mutation: Mutation) -> str:
    """Return the file that has the text of a mutation; exit if it is not exactly one."""
    names = [name for name in files() if re.match(rf"({re.escape(SITE)}|hooks)/.*\.py$", name)]
    found = [name for name in names if mutation.old in (TEMPLATE / name).read_text("utf-8")]
    if len(found) != 1:
        sys.exit(f"{mutation.name!r} breaks a text that is in {len(found)} files: {found}")
    return found[0]


def red_sessions(mutation: Mutation, chosen: Iterable[str]) -> set[str]:
    """Return which of these sessions fail on a copy with the mutation."""
    with tempfile.TemporaryDirectory(prefix="mutation ") as folder:
        copy = copy_of_template(Path(folder))
        path, report = copy / place_of(mutation), Path(folder) / "report.json"
        text = path.read_text("utf-8")
        path.write_text(text.replace(mutation.old, mutation.new, 1), "utf-8", newline="\n")
        # One failure turns a session red: `-x`.
        command = ["-R", f"--report={report}", "-s", *chosen, "--", "-x"]
        done = subprocess.run(
            [sys.executable, "-m", "nox", *command], cwd=copy, capture_output=True, text=True,
            check=False, timeout=1800,
        )  # fmt: skip
        if not report.exists():
            sys.exit(f"nox itself failed:\n{done.stdout}{done.stderr}")
        sessions = json.loads(report.read_text("utf-8"))["sessions"]
        return {each["signatures"][0] for each in sessions if each["result"] == "failed"}


def main(words: list[str]) -> int:
    """Apply the mutations whose name contains one of `words`; return how many went wrong."""
    wrong, named = 0, "--named" in words
    for mutation in MUTATIONS:
        place_of(mutation)
    if "--check" in words:
        return 0
    words = [word for word in words if word != "--named"]
    for mutation in MUTATIONS:
        if words and not any(word in mutation.name for word in words):
            continue
        red = red_sessions(mutation, sorted(mutation.red) if named else PLAIN)
        verdict = "as expected" if red == mutation.red else f"WRONG, expected {mutation.red}"
        wrong += red != mutation.red
        print(
            f"{mutation.name:50} red: {', '.join(sorted(red)) or 'none'} ({verdict})", flush=True
        )
    return wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
