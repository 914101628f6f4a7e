"""The plot of `outage`: a small picture for each fault and each kind of sessions."""

from pathlib import Path
from typing import Any

COLOURS = {"ok": "#3b6ea5", "error": "#c1272d", "logged out": "#e08a00"}
MARKERS = {"ok": "o", "error": "x", "logged out": "v"}
LOWEST, HIGHEST = 1.0, 10_000.0  # milliseconds


def caption(panel: dict[str, Any]) -> str:
    """Return what happened, how many requests failed, and the slowest one's time."""
    after = [(took, outcome) for at, took, outcome in panel["answers"] if at >= 0]
    failed = sum(outcome != "ok" for _, outcome in after)
    slowest = max(took for took, _ in after)
    text = f"{slowest / 1000:.1f} s" if slowest >= 1000 else f"{slowest:.0f} ms"
    return f"{panel['fault']}: {failed} of {len(after)} failed, slowest {text}"


def draw(panels: list[dict[str, Any]], path: Path) -> None:
    """Write the picture as PNG."""
    # Here, since only the environment of benchmarks has it.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    faults = list(dict.fromkeys(panel["fault"] for panel in panels))  # one a row
    who = list(dict.fromkeys(panel["who"] for panel in panels))  # one a column
    size = (4.6 * len(who), 1.75 * len(faults) + 0.9)
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(faults), len(who), sharex=True, sharey=True, squeeze=False)
    for panel in panels:
        axis = axes[faults.index(panel["fault"])][who.index(panel["who"])]
        axis.axvspan(0, panel["lasted"], color="#000000", alpha=0.08, linewidth=0)
        for outcome in COLOURS:
            points = [(at, took) for at, took, what in panel["answers"] if what == outcome]
            axis.plot([at for at, _ in points], [took for _, took in points], MARKERS[outcome],
                      color=COLOURS[outcome], markersize=3.6, markeredgewidth=1, alpha=0.8,
                      label=outcome)  # fmt: skip
        axis.set_title(caption(panel), fontsize=9, loc="left")
        axis.set_yscale("log")
        axis.set_ylim(LOWEST, HIGHEST)
        axis.set_yticks([1, 10, 100, 1000, 10_000], ["1 ms", "10 ms", "100 ms", "1 s", "10 s"])
        axis.minorticks_off()
        axis.grid(axis="y", color="#dddddd", linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    for column, name in zip(axes[0], who, strict=True):
        column.annotate(name, (0.5, 1.22), xycoords="axes fraction", ha="center",
                        fontsize=11, fontweight="bold")  # fmt: skip
    figure.supxlabel("seconds since the fault (shaded while it lasts)", fontsize=9)
    figure.supylabel("time that each request took", fontsize=9)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=3, fontsize=8, frameon=False)
    # No date and no version inside: the same figures make the same file.
    figure.savefig(path, dpi=110, metadata={"Software": None})
