"""Measure which lines and branches of the hooks the tests run, wherever they run them.

    nox -s coverage

Hooks run as rendered copies, which cookiecutter names at random and starts as processes of
their own: coverage.py measures these too, and a copy is told by its text, which differs from
the hook's in one line only, that of the answers. Exit code 2 if anything is left out.
"""

import os
import subprocess
import sys
from pathlib import Path

from coverage import Coverage, CoverageData

TEMPLATE = Path(__file__).parent.parent
HOOKS = sorted((TEMPLATE / "hooks").glob("*.py"))
SETTINGS = """\
[run]
branch = true
patch = subprocess
parallel = true
data_file = {folder}/measured
include = */tmp*.py, *_gen_project.py
"""


def without_answers(path: Path) -> list[str]:
    """Return the lines of a hook or of a copy of it, apart from the answers."""
    lines = path.read_text("utf-8").splitlines()
    return [line for line in lines if not line.startswith("ANSWERS = ")]


def main(folder: Path, arguments: list[str]) -> int:
    """Run pytest with `folder` for all temporary files, then report; return the exit code."""
    settings = folder / "settings.ini"
    settings.write_text(SETTINGS.format(folder=folder.as_posix()), "utf-8")
    command = [sys.executable, "-m", "coverage", "run", f"--rcfile={settings}", "-m", "pytest"]
    variables = os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder))
    done = subprocess.run([*command, *arguments], env=variables, check=False)
    if done.returncode:
        return done.returncode

    sources = {tuple(without_answers(hook)): str(hook) for hook in HOOKS}

    def hook_of(measured: str) -> str:
        path = Path(measured)
        return sources.get(tuple(without_answers(path)), measured) if path.exists() else measured

    total = CoverageData(str(folder / "total"))
    for part in folder.glob("measured.*"):
        data = CoverageData(str(part))
        data.read()
        total.update(data, map_path=hook_of)
    total.write()
    report = Coverage(data_file=str(folder / "total"), branch=True, config_file=False)
    report.load()
    share = report.report([str(hook) for hook in HOOKS], show_missing=True)
    return 0 if share == 100 else 2


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
