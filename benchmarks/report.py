"""Rounds, medians and tables, shared by all benchmarks.

Machines are noisy and drift: what is compared runs in turn, A B A B, and the median of the
rounds is quoted with the smallest and the largest beside it.
"""

import os
import platform
import statistics
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

NAMES = ("generate", "pages", "sessions", "growth", "logins", "live", "outage")
ON_DEMAND = ("checks",)

Figures = dict[str, float]
Measured = dict[str, list[Figures]]  # for each subject the figures of every round


class Options(NamedTuple):
    """What can be asked for; `stored` are the numbers of sessions that `growth` compares."""

    rounds: int = 3
    stored: tuple[int, ...] = (1_000, 100_000)


class Row(NamedTuple):
    """The figures of one subject: for each its median, minimum and maximum over the rounds."""

    subject: str
    figures: dict[str, tuple[float, float, float]]


class Table(NamedTuple):
    """What a benchmark yields; `plot` is what `plot.py` draws, where there is something."""

    title: str
    rows: list[Row]
    plot: Any = None


def interleave(
    subjects: Mapping[str, Callable[[], Figures]], rounds: int, title: str = ""
) -> Measured:
    """Measure each subject once per round, in turn, with a progress line on standard error."""
    measured: Measured = {subject: [] for subject in subjects}
    for number in range(1, rounds + 1):
        for subject, measure in subjects.items():
            progress(f"{title}: round {number} of {rounds}, {subject}")
            measured[subject].append(measure())
    progress("")
    return measured


def rows_of(measured: Measured) -> list[Row]:
    """Return a row for each subject."""
    return [
        Row(subject, {name: spread([run[name] for run in runs]) for name in runs[0]})
        for subject, runs in measured.items()
    ]


def add_ratio(measured: Measured, figure: str, base: str, name: str) -> None:
    """Add to each subject how many times the base's figure it has, round by round."""
    for runs in measured.values():
        for run, of_base in zip(runs, measured[base], strict=True):
            run[name] = run[figure] / of_base[figure]


def spread(values: list[float]) -> tuple[float, float, float]:
    """Return median, minimum and maximum."""
    return statistics.median(values), min(values), max(values)


def percentile(values: list[float], share: float) -> float:
    """Return the value that the share (0 to 1) of all values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def progress(text: str) -> None:
    """Show what is being done, in place on a terminal."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
    elif text:
        print(text, file=sys.stderr, flush=True)


def table(title: str, rows: list[Row]) -> str:
    """Return the rows as a Markdown table: median, and in brackets minimum and maximum."""
    names = list(dict.fromkeys(name for row in rows for name in row.figures))
    lines = [f"### {title}", "", "| | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    for row in rows:
        cells = (_cell(*row.figures[name]) if name in row.figures else "" for name in names)
        lines.append(f"| {row.subject} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def _cell(median: float, low: float, high: float) -> str:
    digits = 0 if abs(median) >= 100 else 1 if abs(median) >= 10 else 2
    text = f"{median:.{digits}f}"
    if low == high:
        return text.removesuffix(".00")  # what was counted
    return f"{text} ({low:.{digits}f}–{high:.{digits}f})"  # noqa: RUF001


def machine() -> str:
    """Return what was measured on, without the machine's name."""
    model = platform.processor() or platform.machine()
    if (cpuinfo := Path("/proc/cpuinfo")).exists():
        names = [
            line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0].partition(":")[2].strip() if names else model
    return (
        f"{os.cpu_count()} × {model}, {platform.system()}, "  # noqa: RUF001
        f"Python {platform.python_version()}"
    )
