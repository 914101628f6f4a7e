"""docs/benchmarks.md, and the plot in it, from the JSON of a run.

nox -s bench -- --json=docs/benchmarks.json
nox -s bench -- --document docs/benchmarks.json
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import held
from benchmarks.compare import compare
from benchmarks.plot import draw
from benchmarks.report import NAMES, ON_DEMAND, Row, table

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"
PLOT = "benchmarks-outage.png"
# In which tables ours are to be set against Django's: a figure, and whether more is better.
BESIDE = {
    "pages": ("requests/s", True, ("database", "redis")),
    "sessions": ("1 kB", False, ("plain row, with the user", "copy, confirmed with the user")),
}


def write(parts: dict[str, Any], again: dict[str, Any] | None = None, folder: Path = DOCS) -> None:
    """Write the page and the plot; `again` is a second run to compare with."""
    (folder / "benchmarks.md").write_text(page(parts, again), "utf-8")
    if panels := parts.get("outage", {}).get("plot"):
        draw(panels, folder / PLOT)


def page(parts: dict[str, Any], again: dict[str, Any] | None = None) -> str:
    """Return docs/benchmarks.md."""
    places = {
        "held": "\n".join(held_table(parts)),
        "runs": "\n".join(runs(parts)),
        "faster": "\n".join(faster(parts)) or "Nowhere in this run.",
        "again": compare(parts, again) if again else "No second run was compared yet.",
        **{name: "\n".join(tables(parts, name)) for name in (*NAMES, *ON_DEMAND)},
    }
    text = (HERE / "page.md").read_text("utf-8")
    for name, content in places.items():
        text = text.replace(f"[[{name}]]", content.strip())
    return text


def held_table(parts: dict[str, Any]) -> Iterator[str]:
    yield from ("| what | to hold | measured | |", "|---|---:|---:|---|")
    for row in held.rows(parts):
        yield f"| {' | '.join(row)} |"


def runs(parts: dict[str, Any]) -> Iterator[str]:
    """When and where each benchmark ran, and how long it took."""
    yield from ("| | date | rounds | took | on |", "|---|---|---:|---:|---|")
    for name in (*NAMES, *ON_DEMAND):
        if part := parts.get(name):
            yield (
                f"| `{name}` | {part['date']} | {part['rounds']} | {part['seconds']} s "
                f"| {part['machine']} |"
            )


def tables(parts: dict[str, Any], name: str) -> Iterator[str]:
    found = parts.get(name, {"tables": {}})["tables"]
    for title, subjects in found.items():
        rows = [Row(subject, figures) for subject, figures in subjects.items()]
        yield table(title.removeprefix(f"{name}: "), rows)
    if not found:
        yield "Not measured."


def faster(parts: dict[str, Any]) -> Iterator[str]:
    """Yield a line for each place where an engine of Django is faster than one of ours."""
    for name, (figure, more, ours) in BESIDE.items():
        for title, subjects in parts.get(name, {"tables": {}})["tables"].items():
            for subject in ours:
                mine = subjects[subject][figure][0]
                better = [
                    f"{other} {figures[figure][0]:.0f}"
                    for other, figures in subjects.items()
                    if other.startswith(("stock", "Django"))
                    and (figures[figure][0] > mine if more else figures[figure][0] < mine)
                ]
                if better:
                    what = title.removeprefix(f"{name}: ")
                    yield f"- {what}, {figure}: {', '.join(better)}; {subject} {mine:.0f}."
