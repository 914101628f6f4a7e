"""Tables of outages: for the terminal, and docs/outage.md from the JSON of the runs.

nox -s outage -- --json=outage.json
nox -s "outage(redis)" -- --stock --json=outage.json
python -m proof.outage.report outage.json
"""

import json
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import machine, table
from proof.outage.result import FAILURES

Row = dict[str, Any]  # a fault, where it happened, and Result.as_dict()

HERE = Path(__file__).parent
PAGE = HERE.parent.parent / "docs" / "outage.md"
DID = ("logins", "requests", "replays")
COLUMNS = (
    "fault", "on", "failures", "usually, ms", "during the fault", "once noticed, p99",
    "cache back", "sockets", *DID, "seen from outside",
)  # fmt: skip


def texts(row: Row) -> list[str]:
    """Return the texts of COLUMNS."""
    latency = row["latency"]
    usual, fault = (
        " / ".join(f"{latency[phase][figure]:.0f}" for figure in ("p50", "p99", "max"))
        for phase in ("usual", "fault")
    )
    sockets = ""
    if found := row["sockets"]:
        sockets = "{open} of {opened}, {again:.1f} s, {slowest:.0f} ms".format(**found)
    return [
        row["fault"], f"{row['profile']}, {row['kind']}", failed(row), usual, fault,
        f"{latency.get('noticed', latency['fault'])['p99']:.0f}", f"{row['back']:.1f} s", sockets,
        *(str(row["did"].get(what, 0)) for what in DID), row["seen"],
    ]  # fmt: skip


def failed(row: Row) -> str:
    """Return what went wrong, in words, or 0."""
    words = [f"{text}: {row['failures'][what]}" for what, text in FAILURES.items()
             if row["failures"].get(what)]  # fmt: skip
    return ", ".join([*words, *row["too long"]]) or "0"


def results(rows: Iterable[Row]) -> str:
    """Return the table of results."""
    return table(COLUMNS, map(texts, rows))


def add_to(path: Path, rows: Sequence[Row]) -> None:
    """Put results into a JSON file, in place of those of an earlier run."""
    found = json.loads(path.read_text("utf-8"))["rows"] if path.exists() else []
    by_place = {
        tuple(row[name] for name in ("fault", "profile", "kind", "sessions")): row
        for row in [*found, *rows]
    }
    data = {"machine": machine(), "date": time.strftime("%Y-%m-%d"), "rows": [*by_place.values()]}
    path.write_text(json.dumps(data, indent=1) + "\n", "utf-8")


def page(data: dict[str, Any]) -> str:
    """Return docs/outage.md."""
    ours = [row for row in data["rows"] if row["sessions"] == "ours"]
    stock = {(row["fault"], row["sessions"]): failed(row) for row in data["rows"]
             if row["sessions"] != "ours"}  # fmt: skip
    engines = sorted({engine for _, engine in stock})
    faults = dict.fromkeys(fault for fault, _ in stock)
    compared = ([fault, *(stock.get((fault, each), "") for each in engines)] for fault in faults)
    parts = {
        "machine": data["machine"],
        "date": data["date"],
        "rows": str(len(ours)),
        **{what: f"{sum(row['did'][what] for row in ours):,}" for what in DID},
        "failures": str(sum(sum(row["failures"].values()) for row in ours)),
        "ours": results(ours),
        "stock": table(["fault", *(f"`{engine}`" for engine in engines)], compared),
    }
    text = (HERE / "page.md").read_text("utf-8")
    for name, part in parts.items():
        text = text.replace(f"[[{name}]]", part)
    return text


if __name__ == "__main__":
    PAGE.write_text(page(json.loads(Path(sys.argv[1]).read_text("utf-8"))), "utf-8")
