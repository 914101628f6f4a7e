"""Change one operator, number or branch at a time, and see whether tests fail.

    nox -s mutants                              a sample of each part
    nox -s mutants -- profiles --sample 0       all of one part

cosmic-ray makes the mutants, in a copy; one that no test notices survives and is printed. The
sample is drawn by a seed, so that two runs compare. Tests that reach the changed line run first.
"""

import argparse
import ast
import json
import os
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from cosmic_ray.tools.report import report
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import MutationSpec, TestOutcome, WorkerOutcome, WorkResult

from proof.mutations import copy_of_template
from tests.voice import SITE

TEMPLATE = Path(__file__).parent.parent
SECONDS = 300  # for the tests of one mutant; a mutant that takes longer is noticed
LIBRARY = f"{SITE}/vendor/django-outlast/src/outlast"
OF_LIBRARY = ["-c", "tests/outlast/pytest.ini"]


class Part(NamedTuple):
    """Modules that belong together, and pytest's arguments.

    `in_site`: they are those of a generated site on the profile `database`.
    """

    modules: list[str]
    tests: list[str]
    in_site: bool = False


def library(modules: list[str], tests: list[str], *options: str) -> Part:
    """Return a part of django-outlast with its tests on the stock project: names begin so."""

    def found(patterns: list[str]) -> list[str]:
        paths = (path for pattern in patterns for path in sorted(TEMPLATE.glob(pattern)))
        return [str(path.relative_to(TEMPLATE)) for path in paths]

    files = found([f"tests/outlast/test_{name}*.py" for name in tests])
    modules = found([f"{LIBRARY}/{module}" for module in modules])
    return Part(modules, [*OF_LIBRARY, *options, *files])


PARTS = {
    # Without slow tests, which would add a minute for each mutant that the others do not notice.
    "sessions": library(["sessions/*.py", "middleware.py"], ["session"], "-m", "not slow"),
    "cache": library(["cache.py", "redis/values.py"], ["cache"]),
    "breaker": library(["redis/breaker.py"], ["redis_breaker", "redis_replies"]),
    "handler": library(["handler.py", "threads.py"], ["handler"]),
    "channels": library(["channels/*.py"], ["channels"]),
    "throttle": Part(
        ["accounts/throttle.py", "accounts/middleware.py"],
        ["tests/test_throttle.py", "tests/test_backends.py"],
        in_site=True,
    ),
    "profiles": Part(
        [f"{SITE}/config/profiles.py"],
        ["tests/test_profiles.py", "proof/test_profile.py", "--profile=file"],
    ),
    "hooks": Part(
        ["hooks/pre_gen_project.py", "hooks/post_gen_project.py"],
        [
            "tests/test_pre_gen.py",
            "tests/test_pre_gen_python.py",
            "tests/test_post_gen.py",
            "tests/test_post_gen_commands.py",
        ],
    ),
}


def prepare(part: Part, folder: Path, variables: dict[str, str]) -> Path:
    """Return a copy of the template, or a new site, with cosmic-ray's settings in it."""
    copy = copy_of_template(folder)
    if part.in_site:
        command = [sys.executable, "-m", "cookiecutter", str(copy), "--no-input", f"-o{folder}"]
        subprocess.run([*command, "install=no"], check=True, stdout=subprocess.DEVNULL)
        copy = folder / "my-site"
        variables["PYTHONPATH"] = "vendor/django-outlast/src"
    texts = {name: (copy / name).read_text("utf-8") for name in part.modules}
    (copy / "mutants.json").write_text(json.dumps({"texts": texts}), "utf-8")
    shutil.copy(TEMPLATE / "proof" / "reaching.py", copy)
    pytest = [sys.executable, "-m", "pytest", "-x", "-q", "--timeout=60", "-p", "no:cacheprovider",
              "-p", "reaching", f"--session-timeout={SECONDS}"]  # fmt: skip
    lines = [
        "[cosmic-ray]",
        f"module-path = {json.dumps(part.modules)}",
        f"timeout = {SECONDS + 30}.0",
        "excluded-modules = []",
        f"test-command = {json.dumps(shlex.join([*pytest, *part.tests]))}",
        "[cosmic-ray.distributor]",
        'name = "local"',
    ]
    (copy / "mutants.toml").write_text("\n".join(lines), "utf-8")
    return copy


def is_annotation(folder: Path, mutation: MutationSpec) -> bool:
    """Return whether it changes an annotation, which says nothing about the tests."""
    nodes = ast.walk(ast.parse((folder / mutation.module_path).read_text("utf-8")))
    found = [getattr(node, name, None) for node in nodes for name in ("annotation", "returns")]
    starts = [(node.lineno, node.col_offset) for node in found if node]
    ends = [(node.end_lineno, node.end_col_offset) for node in found if node]
    return any(a <= mutation.start_pos < b for a, b in zip(starts, ends, strict=True))


def draw(database: WorkDB, folder: Path, sample: int, seed: int) -> int:
    """Skip all mutants but a sample; return of how many it was drawn."""
    items = sorted(database.work_items, key=lambda item: str(item.mutations))
    wanted = [item for item in items if not is_annotation(folder, item.mutations[0])]
    size = min(sample or len(wanted), len(wanted))
    kept = {item.job_id for item in random.Random(seed).sample(wanted, size)}
    unwanted = [item.job_id for item in items if item.job_id not in kept]
    database.set_multiple_results(unwanted, WorkResult(worker_outcome=WorkerOutcome.SKIPPED))
    return len(wanted)


def examine(name: str, part: Part, sample: int, seed: int) -> None:
    """Try the mutants of a part and print its survivors and its score."""
    variables = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="mutants ", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)  # other users may pass through, such as PostgreSQL's
        variables |= dict.fromkeys(("TMPDIR", "TEMP", "TMP"), folder)
        copy = prepare(part, Path(folder), variables)
        database = str(copy / "mutants.sqlite")

        def cosmic_ray(*arguments: str) -> None:
            command = [sys.executable, "-m", "cosmic_ray.cli", *arguments]
            subprocess.run(command, cwd=copy, env=variables, check=True)

        cosmic_ray("baseline", "mutants.toml")
        # Two mutants of one second and one size would share their bytecode.
        variables["PYTHONDONTWRITEBYTECODE"] = "1"
        cosmic_ray("init", "mutants.toml", database)
        with use_db(database, WorkDB.Mode.open) as opened:
            of = draw(opened, copy, sample, seed)
        cosmic_ray("exec", "mutants.toml", database)
        report(["--surviving-only", "--show-diff", database], standalone_mode=False)
        with use_db(database, WorkDB.Mode.open) as opened:
            outcomes = [result.test_outcome for _, result in opened.results]
    # Mutants that cosmic-ray cannot make are not counted: exceptions with a dot in their name.
    noticed, survived = map(outcomes.count, (TestOutcome.KILLED, TestOutcome.SURVIVED))
    score = f"{noticed} of {noticed + survived} mutants noticed"
    print(f"{name}: {score} (of {of}, seed {seed})", flush=True)


def main() -> None:
    """Examine the parts that the command line names, or all."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[])
    parser.add_argument("--sample", type=int, default=60, help="mutants of each part; 0: all")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if hasattr(os, "nice"):
        os.nice(10)
    for name in options.parts or PARTS:
        examine(name, PARTS[name], options.sample, options.seed)


if __name__ == "__main__":
    main()
