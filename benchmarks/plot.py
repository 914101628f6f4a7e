"""The plot of `outage`: a small picture for each fault and each kind of sessions."""

from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

LOOKS = {"ok": ("#3b6ea5", "o"), "error": ("#c1272d", "x"), "logged out": ("#e08a00", "v")}


def draw(panels: dict[tuple[str, str], tuple[float, list[Any]]], path: Path) -> None:
    """Write the picture as PNG: for each fault, and whose sessions, its seconds and answers."""
    rows = len(panels) // 2  # each with two panels: this template's, and Django's
    figure = Figure(figsize=(9.2, 1.75 * rows + 0.9), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, 2, sharex=True, sharey=True, squeeze=False)
    for axis, ((fault, name), (lasted, answers)) in zip(axes.flat, panels.items(), strict=True):
        axis.axvspan(0, lasted, color="#000000", alpha=0.08, linewidth=0)
        for outcome, (colour, marker) in LOOKS.items():
            chosen = [answer for answer in answers if answer.outcome == outcome]
            axis.plot([answer.at for answer in chosen], [answer.took for answer in chosen], marker,
                      color=colour, markersize=3.6, alpha=0.8, label=outcome)  # fmt: skip
        after = [answer for answer in answers if answer.at >= 0]
        failed = sum(answer.outcome != "ok" for answer in after)
        slowest = max(answer.took for answer in after)
        text = f"{fault}: {failed} of {len(after)} failed, slowest {slowest:.0f} ms"
        axis.set_title(f"{name}\n{text}", fontsize=9, loc="left")
        axis.set_yscale("log")
        axis.set_ylim(1, 10_000)
        axis.set_yticks([1, 10, 100, 1000, 10_000], ["1 ms", "10 ms", "100 ms", "1 s", "10 s"])
        axis.minorticks_off()
        axis.grid(axis="y", color="#dddddd", linewidth=0.6)
    figure.supxlabel("seconds since the fault (shaded while it lasts)", fontsize=9)
    figure.supylabel("time that each request took", fontsize=9)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=3, fontsize=8, frameon=False)
    # No date and no version inside: the same figures make the same file.
    figure.savefig(path, dpi=110, metadata={"Software": None})
