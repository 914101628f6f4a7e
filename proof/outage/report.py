"""Tables of outages: one for the terminal, and docs/outage.md from the JSON of the runs.

nox -s outage outage-stock -- --every-kind --json=outage.json
python -m proof.outage.report outage.json
"""

import json
import os
import platform
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from proof.outage.recorder import FAILURES, slowest_allowed

Cell = dict[str, Any]

HERE = Path(__file__).parent
PAGE = HERE.parent.parent / "docs" / "outage.md"
DID = ("logins", "requests", "replays")
FIGURES = ("p50", "p99", "max")
COLUMNS = ("fault", "on", "sessions", *DID, *FAILURES, "usual p50", "p99", "max",
           "fault p50", "p99", "max", "noticed p99", "back", "open", "deaf", "again", "raised",
           "slowest send", "seen")  # fmt: skip
NAMES = {"errors": "errors", "refused": "logins refused", "logged_out": "logged out",
         "alive": "ended, yet alive", "lost": "writes lost"}  # fmt: skip


def table(cells: Iterable[Cell]) -> str:
    """Return an aligned table; times in milliseconds, "back" in seconds."""
    rows = [list(COLUMNS), *map(row, cells)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in rows
    )


def row(cell: Cell) -> list[str]:
    return [
        cell["fault"],
        f"{cell['profile']}, {cell['kind']}",
        cell["sessions"],
        *(str(cell["did"].get(what, 0)) for what in DID),
        *(str(cell["failures"].get(what, 0)) for what in FAILURES),
        *milliseconds(cell, "usual"),
        *milliseconds(cell, "fault"),
        milliseconds(cell, "noticed")[1],
        f"{cell['back']:.1f}",
        *sockets(cell),
        cell["seen"],
    ]


def sockets(cell: Cell) -> list[str]:
    """Return who stayed open, who is deaf, when all received again, how sends went."""
    found = cell.get("sockets")
    if not found:  # Django's engines
        return [""] * 5
    return [
        f"{found['open']}/{found['opened']}",
        str(found["deaf"]),
        f"{found['again']:.1f}",
        str(found["raised"]),
        f"{found['slowest']:.0f}",
    ]


def milliseconds(cell: Cell, phase: str) -> list[str]:
    """Return median, 99th percentile and slowest of a phase."""
    found = cell["latency"].get(phase)
    return [f"{found[figure]:.0f}" if found else "" for figure in FIGURES]


def add_to(path: Path, cells: Sequence[Cell]) -> None:
    """Put cells into a JSON file, in place of those of an earlier run."""
    kept = json.loads(path.read_text("utf-8"))["cells"] if path.exists() else []
    new = {identity(cell) for cell in cells}
    kept = [cell for cell in kept if identity(cell) not in new]
    data = {
        "machine": describe_machine(),
        "date": datetime.now(UTC).date().isoformat(),
        "cells": [*kept, *cells],
    }
    path.write_text(json.dumps(data, indent=1) + "\n", "utf-8")


def identity(cell: Cell) -> tuple[str, ...]:
    return tuple(cell[name] for name in ("fault", "profile", "kind", "sessions"))


def describe_machine() -> str:
    """Return processor, cores, system and Python; no names."""
    processor, cpuinfo = platform.processor() or platform.machine(), Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [line for line in cpuinfo.read_text().splitlines() if "model name" in line]
        processor = models[0].partition(": ")[2] if models else processor
    return (
        f"{processor}, {os.cpu_count()} cores, {platform.system()}, "
        f"Python {platform.python_version()}"
    )


def page(data: dict[str, Any]) -> str:
    """Return docs/outage.md."""
    cells = data["cells"]
    ours = [cell for cell in cells if cell["sessions"] == "ours"]
    parts = {
        "machine": data["machine"],
        "date": data["date"],
        "cells": str(len(ours)),
        **{what: f"{sum(cell['did'][what] for cell in ours):,}".replace(",", " ") for what in DID},
        "failures": str(sum(sum(cell["failures"].values()) for cell in ours)),
        "beside": "\n".join(beside(cells)),
        "sentinel": "\n".join(alone([cell for cell in ours if cell["profile"] != "redis"])),
        "sockets": "\n".join(live(ours)),
        "latency": "\n".join(latency(ours)),
    }
    text = (HERE / "page.md").read_text("utf-8")
    for name, part in parts.items():
        text = text.replace(f"[[{name}]]", part)
    return text


def line(*texts: str) -> str:
    return f"| {' | '.join(texts)} |"


def head(*texts: str) -> list[str]:
    return [line(*texts), line(*("---" for _ in texts))]


def failed(cells: Iterable[Cell]) -> str:
    """Return what went wrong in cells, in words, or 0."""
    cells = list(cells)
    sums = {
        name: sum(cell["failures"].get(what, 0) for cell in cells) for what, name in NAMES.items()
    }
    words = [f"{number} {name}" for name, number in sums.items() if number]
    waits = [(cell["latency"]["fault"]["max"], slowest_allowed(cell["latency"])) for cell in cells]
    if too_long := [waited for waited, allowed in waits if waited > allowed]:
        words.append(f"waits of {max(too_long) / 1000:.0f} s")
    return ", ".join(words) or "0"


def beside(cells: Sequence[Cell]) -> Iterator[str]:
    """One Redis: ours and Django's engines, failures per fault."""
    cells = [cell for cell in cells if cell["profile"] == "redis"]
    yield from head("fault", "this template", "Django `cache`", "Django `cached_db`")
    for fault in dict.fromkeys(cell["fault"] for cell in cells):
        of = [cell for cell in cells if cell["fault"] == fault]
        texts = [
            failed([cell for cell in of if cell["sessions"] == sessions])
            for sessions in ("ours", "cache", "cached_db")
        ]
        yield line(fault, *texts)


def alone(cells: Sequence[Cell]) -> Iterator[str]:
    """A Sentinel quorum, of which Django's cache knows nothing."""
    yield from head("fault", "this template")
    for fault in dict.fromkeys(cell["fault"] for cell in cells):
        yield line(fault, failed([cell for cell in cells if cell["fault"] == fault]))


def live(cells: Iterable[Cell]) -> Iterator[str]:
    """What became of the pages that were open."""
    yield from head(
        "fault", "on", "stayed open", "deaf in the end", "whole again, s", "sends that raised",
        "slowest send, ms",
    )  # fmt: skip
    for cell in cells:
        yield line(cell["fault"], f"{cell['profile']}, {cell['kind']}", *sockets(cell))


def latency(cells: Iterable[Cell]) -> Iterator[str]:
    """How long requests took, how much was done, and what showed that the fault was there."""
    yield from head(
        "fault", "on", "usual p50 / p99 / slowest", "during the fault", "p99 once noticed",
        "cache back",
        "logins", "requests", "replays", "seen from outside",
    )  # fmt: skip
    for cell in cells:
        yield line(
            cell["fault"],
            f"{cell['profile']}, {cell['kind']}",
            " / ".join(milliseconds(cell, "usual")),
            " / ".join(milliseconds(cell, "fault")),
            milliseconds(cell, "noticed")[1],
            f"{cell['back']:.1f} s",
            *(str(cell["did"][what]) for what in DID),
            cell["seen"],
        )


if __name__ == "__main__":
    PAGE.write_text(page(json.loads(Path(sys.argv[1]).read_text("utf-8"))), "utf-8")
