"""Rounds, medians and tables, shared by all benchmarks.

Machines are noisy: what is compared runs in turn, A B A B, and the median of the rounds is quoted
with the smallest and the largest.
"""

import os
import platform
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

Figures = dict[str, float]
Measured = dict[str, list[Figures]]  # for each subject the figures of every round


class Table(NamedTuple):
    """A heading, and for each subject the figures of every round."""

    title: str
    measured: Measured


def interleave(subjects: Mapping[str, Callable[[], Figures]], rounds: int, title: str) -> Measured:
    """Measure each subject once per round, in turn."""
    measured: Measured = {subject: [] for subject in subjects}
    for number in range(1, rounds + 1):
        for subject, measure in subjects.items():
            progress(f"{title}: round {number} of {rounds}, {subject}")
            measured[subject].append(measure())
    return measured


def add_ratio(measured: Measured, figure: str, base: str, name: str) -> None:
    """Add to each subject how many times the base's figure it has, round by round."""
    for runs in measured.values():
        for run, of_base in zip(runs, measured[base], strict=True):
            run[name] = run[figure] / of_base[figure]


def percentile(values: list[float], share: float) -> float:
    """Return the value that the share (0 to 1) of all values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def progress(text: str) -> None:
    """Print on standard error what is being done."""
    print(text, file=sys.stderr, flush=True)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table, aligned for a terminal."""
    lines = [list(head), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    padded = (map(str.ljust, line, widths) for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)


def markdown(measured: Table) -> str:
    """Return the table as Markdown: median, and in brackets minimum and maximum."""
    subjects = measured.measured.items()
    names = list(dict.fromkeys(name for _, runs in subjects for run in runs for name in run))
    rows = (
        [subject, *(_cell([run[name] for run in runs if name in run]) for name in names)]
        for subject, runs in subjects
    )
    return f"### {measured.title}\n\n{table(['', *names], rows)}\n"


def _cell(values: list[float]) -> str:
    if not values:
        return ""
    median, low, high = statistics.median(values), min(values), max(values)
    digits = 0 if abs(median) >= 100 else 1 if abs(median) >= 10 else 2
    text = f"{median:.{digits}f}"
    if low == high:
        return text.removesuffix(".00")  # a count
    return f"{text} ({low:.{digits}f}–{high:.{digits}f})"  # noqa: RUF001


def machine() -> str:
    """Return what was measured on, without the machine's name."""
    version = platform.python_version()
    return f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}, Python {version}"
