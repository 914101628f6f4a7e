"""Whether two runs agree: `nox -s bench -- --compare docs/benchmarks.json`."""

from collections.abc import Iterator
from typing import Any

# Three rounds seldom show the extremes, so that a tenth is allowed beyond them.
MARGIN = 0.1

Spread = list[float] | tuple[float, float, float]  # median, minimum, maximum


def agree(one: Spread, other: Spread) -> bool:
    """Whether the ranges of two runs meet, each a tenth wider on both sides."""

    def meets(low: Spread, high: Spread) -> bool:
        return low[1] * (1 - MARGIN) <= high[2] * (1 + MARGIN)

    return meets(one, other) and meets(other, one)


def pairs(
    before: dict[str, Any], now: dict[str, Any]
) -> Iterator[tuple[tuple[str, str, str], Spread, Spread]]:
    """Yield title, subject and figure of what both runs have measured, with its spreads."""
    for name in before.keys() & now.keys():
        for title, subjects in now[name]["tables"].items():
            for subject, figures in subjects.items():
                old = before[name]["tables"].get(title, {}).get(subject, {})
                for figure, spread in figures.items():
                    if figure in old:
                        yield (title, subject, figure), old[figure], spread


def compare(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Return how many figures agree, and a line for each that does not."""
    found = list(pairs(before, now))
    apart = sorted((where, old, new) for where, old, new in found if not agree(old, new))
    machines = {
        part["machine"] for parts in (before, now) for name, part in parts.items() if name in now
    }
    lines = [f"{len(found) - len(apart)} of {len(found)} figures agree with those of before."]
    if len(machines) > 1:
        lines.append("They are of different machines: only ratios and counts can agree.")
    lines += [
        f"- {', '.join(where)}: {text(old)} before, {text(new)} now" for where, old, new in apart
    ]
    return "\n".join(lines)


def text(spread: Spread) -> str:
    return "{:.4g} ({:.4g} to {:.4g})".format(*spread)
