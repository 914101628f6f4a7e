"""Tables of outages: one for the terminal, and docs/outage.md from the JSON of the runs.

nox -s outage -- --every-kind --json=outage.json
nox -s "outage(redis)" -- --stock --json=outage.json
python -m proof.outage.report outage.json
"""

import json
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import machine
from proof.outage.recorder import FAILURES, slowest_allowed

Cell = dict[str, Any]

HERE = Path(__file__).parent
PAGE = HERE.parent.parent / "docs" / "outage.md"
DID = ("logins", "requests", "replays")
NAMES = {"errors": "errors", "refused": "logins refused", "logged_out": "logged out",
         "alive": "ended sessions alive", "lost": "writes lost"}  # fmt: skip
COLUMNS = (
    "fault", "on", "failures", "usually, ms", "during the fault", "once noticed, p99",
    "cache back", "sockets", "logins", "requests", "replays", "seen from outside",
)  # fmt: skip


def row(cell: Cell) -> list[str]:
    """Return the texts of COLUMNS for one result."""
    return [
        cell["fault"],
        f"{cell['profile']}, {cell['kind']}",
        failed([cell]),
        milliseconds(cell, "usual"),
        milliseconds(cell, "fault"),
        f"{cell['latency'].get('noticed', cell['latency']['fault'])['p99']:.0f}",
        f"{cell['back']:.1f} s",
        sockets(cell),
        *(str(cell["did"].get(what, 0)) for what in DID),
        cell["seen"],
    ]


def sockets(cell: Cell) -> str:
    """Return how many sockets stayed open, when all received again, the slowest send."""
    found = cell.get("sockets")
    if not found:  # Django's engines
        return ""
    text = (
        f"{found['open']} of {found['opened']}, {found['again']:.1f} s, {found['slowest']:.0f} ms"
    )
    return f"{text}, {found['deaf']} deaf" if found["deaf"] else text


def milliseconds(cell: Cell, phase: str) -> str:
    """Return median, 99th percentile and slowest request of a phase."""
    found = cell["latency"][phase]
    return " / ".join(f"{found[figure]:.0f}" for figure in ("p50", "p99", "max"))


def failed(cells: Iterable[Cell]) -> str:
    """Return what went wrong, in words, or 0."""
    cells = list(cells)
    sums = {
        name: sum(cell["failures"].get(what, 0) for cell in cells) for what, name in NAMES.items()
    }
    words = [f"{number} {name}" for name, number in sums.items() if number]
    waits = [(cell["latency"]["fault"]["max"], slowest_allowed(cell["latency"])) for cell in cells]
    if too_long := [waited for waited, allowed in waits if waited > allowed]:
        words.append(f"waits of {max(too_long) / 1000:.0f} s")
    return ", ".join(words) or "0"


def table(cells: Iterable[Cell]) -> str:
    """Return an aligned table for a terminal."""
    rows = [list(COLUMNS), *map(row, cells)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in rows
    )


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(texts)} |" for texts in lines)


def add_to(path: Path, cells: Sequence[Cell]) -> None:
    """Put results into a JSON file, in place of those of an earlier run."""

    def identity(cell: Cell) -> tuple[str, ...]:
        return tuple(cell[name] for name in ("fault", "profile", "kind", "sessions"))

    kept = json.loads(path.read_text("utf-8"))["cells"] if path.exists() else []
    new = {identity(cell) for cell in cells}
    kept = [cell for cell in kept if identity(cell) not in new]
    data = {"machine": machine(), "date": time.strftime("%Y-%m-%d"), "cells": [*kept, *cells]}
    path.write_text(json.dumps(data, indent=1) + "\n", "utf-8")


def page(data: dict[str, Any]) -> str:
    """Return docs/outage.md."""
    cells = data["cells"]
    ours = [cell for cell in cells if cell["sessions"] == "ours"]
    stock = [cell for cell in cells if cell["sessions"] != "ours"]
    engines = list(dict.fromkeys(cell["sessions"] for cell in stock))
    faults = dict.fromkeys(cell["fault"] for cell in stock)
    beside = [
        [fault, *(failed([c for c in stock if (c["fault"], c["sessions"]) == (fault, engine)])
                  for engine in engines)]
        for fault in faults
    ]  # fmt: skip
    parts = {
        "machine": data["machine"],
        "date": data["date"],
        "cells": str(len(ours)),
        **{what: f"{sum(cell['did'][what] for cell in ours):,}" for what in DID},
        "failures": str(sum(sum(cell["failures"].values()) for cell in ours)),
        "ours": markdown(COLUMNS, map(row, ours)),
        "stock": markdown(["fault", *(f"`{engine}`" for engine in engines)], beside),
    }
    text = (HERE / "page.md").read_text("utf-8")
    for name, part in parts.items():
        text = text.replace(f"[[{name}]]", part)
    return text


assert NAMES.keys() == FAILURES.keys()

if __name__ == "__main__":
    PAGE.write_text(page(json.loads(Path(sys.argv[1]).read_text("utf-8"))), "utf-8")
