"""Run benchmarks by name, all of them by default.

nox -s bench -- generate pages --rounds 5 --json figures.json
"""

import argparse
import importlib
import json
import pkgutil
from pathlib import Path

import benchmarks
from benchmarks import report

HELPERS = {"__main__", "distance", "inside", "load", "overlay", "report"}
NAMES = [
    module.name
    for module in pkgutil.iter_modules(benchmarks.__path__)
    if module.name not in HELPERS
]


def main() -> None:
    """Run what is asked for and print a table for each; each module offers `run(rounds)`."""
    parser = argparse.ArgumentParser(description=__doc__, prog="nox -s bench --")
    parser.add_argument("names", nargs="*", metavar="name", help=f"one of {', '.join(NAMES)}")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each (default: 3)")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(NAMES):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}: there are {', '.join(NAMES)}")

    machine = report.machine()
    print(f"{machine}\n")
    figures = {}
    for name in arguments.names or NAMES:
        for title, rows in importlib.import_module(f"benchmarks.{name}").run(arguments.rounds):
            print(report.table(title, rows), flush=True)
            figures[title] = {row.subject: row.figures for row in rows}
    if arguments.json:
        content = {"machine": machine, "rounds": arguments.rounds, "figures": figures}
        arguments.json.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
