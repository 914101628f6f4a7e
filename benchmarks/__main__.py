"""Run benchmarks by name, all but `checks` by default.

nox -s bench -- generate pages --rounds 5 --json figures.json
nox -s bench -- --json again.json --compare docs/benchmarks.json
nox -s bench -- --document docs/benchmarks.json --compare again.json
"""

import argparse
import importlib
import json
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import held, report
from benchmarks.compare import compare
from benchmarks.report import NAMES, ON_DEMAND


def main() -> None:
    """Run what is asked for and print a table for each; each module offers `run(options)`."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        prog="nox -s bench --",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    known = ", ".join((*NAMES, *ON_DEMAND))
    parser.add_argument("names", nargs="*", metavar="name", help=f"some of {known}")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each (default: 3)")
    parser.add_argument(
        "--stored", type=int, nargs="+", metavar="NUMBER", default=report.Options().stored,
        help="sessions in `growth` (default: 1000 100000)",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, help="put the figures into this file, by name")
    parser.add_argument(
        "--compare", type=Path, metavar="JSON", help="say whether these figures agree"
    )
    parser.add_argument(
        "--document", type=Path, metavar="JSON", help="measure nothing: write the page of docs/"
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - {*NAMES, *ON_DEMAND}:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}: there are {known}")
    other = json.loads(arguments.compare.read_text("utf-8")) if arguments.compare else None
    if arguments.document:
        from benchmarks.document import write  # the plot's library takes a second to import

        write(json.loads(arguments.document.read_text("utf-8")), other)
        return

    print(f"{report.machine()}\n")
    options = report.Options(arguments.rounds, tuple(sorted(arguments.stored)))
    parts: dict[str, Any] = {}
    for name, part in measure(arguments.names or NAMES, options):
        parts[name] = part
        if arguments.json:
            add_to(arguments.json, name, part)  # at once: a later one may fail
    for what, limit, found, verdict in held.rows(parts):
        if "not" in verdict:
            print(f"Not held: {what}: {found}, to hold {limit}.")
    if other:
        print(compare(other, parts))


def measure(
    names: list[str] | tuple[str, ...], options: report.Options
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what each benchmark has to show, as it goes into the JSON."""
    for name in names:
        began, tables, plot = time.monotonic(), {}, None
        for title, rows, found in importlib.import_module(f"benchmarks.{name}").run(options):
            print(report.table(title, rows), flush=True)
            tables[title] = {row.subject: row.figures for row in rows}
            plot = found or plot
        seconds = time.monotonic() - began
        print(f"{name} took {seconds:.0f} s.\n", file=sys.stderr)
        yield (
            name,
            {
                "machine": report.machine(),
                "date": datetime.now(UTC).date().isoformat(),
                "rounds": options.rounds,
                "seconds": round(seconds),
                "tables": tables,
                "plot": plot,
            },
        )


def add_to(path: Path, name: str, part: dict[str, Any]) -> None:
    """Put the figures of one benchmark into a JSON file, in place of those of an earlier run."""
    parts = json.loads(path.read_text("utf-8")) if path.exists() else {}
    path.write_text(dump(parts | {name: part}), "utf-8")


def dump(parts: dict[str, Any]) -> str:
    """Return JSON with a line for each benchmark's table and plot, and not for each number."""
    return json.dumps(parts, separators=(",", ":")).replace('}},"', '}},\n"') + "\n"


if __name__ == "__main__":
    main()
