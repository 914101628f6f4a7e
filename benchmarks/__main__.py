"""Run benchmarks by name, all by default, and print a table for each.

nox -s bench -- generate pages --rounds 5
nox -s bench -- --write
"""

import argparse
import importlib
import time
from pathlib import Path

from benchmarks import report

NAMES = ("generate", "pages", "others", "cache", "sessions", "live", "outage")
PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"


def main() -> None:
    """Run what is asked for; each module offers `run(rounds)`, which yields tables."""
    parser = argparse.ArgumentParser(prog="nox -s bench --")
    parser.add_argument("names", nargs="*", choices=[*NAMES, []], default=[], metavar="name",
                        help=f"some of {', '.join(NAMES)}")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each (default: 3)")
    parser.add_argument("--write", action="store_true", help="put them into docs/benchmarks.md")
    options = parser.parse_args()
    print(f"{report.machine()}\n")
    for name in options.names or NAMES:
        began = time.monotonic()
        module = importlib.import_module(f"benchmarks.{name}")
        tables = []
        for table in module.run(options.rounds):
            tables.append(report.markdown(table))
            print(tables[-1], flush=True)
        if options.write:
            write(name, module.__doc__ or "", tables, options.rounds, time.monotonic() - began)


def write(name: str, docstring: str, tables: list[str], rounds: int, seconds: float) -> None:
    """Replace the section of a benchmark in the page; the others stay as they are."""
    when = f"{report.machine()}, {time.strftime('%Y-%m-%d')}, rounds: {rounds}, {seconds:.0f} s"
    heading, _, text = docstring.strip().partition("\n")
    source = f"*{when}: `nox -s bench -- {name}`.*"
    section = "\n\n".join([heading, text.strip(), *map(str.strip, tables), source]) + "\n"
    introduction, *sections = PAGE.read_text("utf-8").split("\n## ")
    kept = [each for each in sections if not each.startswith(f"{heading}\n")]
    PAGE.write_text("\n## ".join([introduction, *kept, section]), "utf-8")


if __name__ == "__main__":
    main()
