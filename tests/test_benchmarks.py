"""What benchmarks do with their figures: tables, comparisons, the page and its plot."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import held
from benchmarks.__main__ import add_to
from benchmarks.compare import agree, compare
from benchmarks.document import page
from benchmarks.outage import Answer, figures_of
from benchmarks.plot import caption, grid, series
from benchmarks.report import NAMES, ON_DEMAND, Row, add_ratio, interleave, rows_of, table
from tests.conftest import TEMPLATE


def part(tables: dict[str, Any], machine: str = "2 × Processor") -> dict[str, Any]:  # noqa: RUF001
    return {"machine": machine, "date": "2026-01-01", "rounds": 3, "seconds": 9, "tables": tables}


def pages(ratio: float) -> dict[str, Any]:
    subjects = {
        name: {"requests/s": [speed, speed - 9, speed + 9], "times stock db": [times, times, 2]}
        for name, speed, times in (
            ("stock db", 100, 1),
            ("database", 100 * ratio, ratio),
            ("redis", 150, 1.5),
        )
    }
    return {"pages": part({"pages on SQLite": subjects})}


def test_subjects_are_measured_in_turn_and_set_against_each_other_round_by_round() -> None:
    order = []

    def subject(name: str, figures: list[float]) -> Any:
        def measure() -> dict[str, float]:
            order.append(name)
            return {"requests/s": figures.pop(0)}

        return measure

    subjects = {"stock": subject("stock", [10, 20, 40]), "ours": subject("ours", [20, 30, 120])}
    measured = interleave(subjects, 3)
    add_ratio(measured, "requests/s", "stock", "times")
    assert order == ["stock", "ours"] * 3
    assert rows_of(measured)[1] == (
        "ours",
        {"requests/s": (30, 20, 120), "times": (2.0, 1.5, 3.0)},
    )


def test_table_shows_the_spread_of_what_is_measured_but_not_of_what_is_counted() -> None:
    rows = [Row("ours", {"ms": (12.34, 9.0, 15.0), "queries": (1.0, 1.0, 1.0)}),
            Row("stock", {"ms": (250.4, 240.0, 300.0)})]  # fmt: skip
    assert table("pages", rows).splitlines()[2:] == [
        "| | ms | queries |",
        "|---|---:|---:|",
        "| ours | 12.3 (9.0–15.0) | 1 |",  # noqa: RUF001
        "| stock | 250 (240–300) |  |",  # noqa: RUF001
    ]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ((10, 9, 11), (11, 10, 12), True),
        ((10, 9, 10), (12, 11, 13), True),  # within the tenth
        ((10, 9, 10), (15, 13, 16), False),
        ((0, 0, 0), (0, 0, 0), True),
        ((0, 0, 0), (1, 1, 1), False),
    ],
)
def test_runs_agree_where_their_ranges_meet(one: Any, other: Any, expected: bool) -> None:
    assert agree(one, other) is agree(other, one) is expected


def test_comparison_names_what_does_not_agree() -> None:
    text = compare(pages(1.3), pages(2.6) | {"live": part({})})
    assert text.startswith("4 of 6 figures agree")
    assert "pages on SQLite, database, requests/s: 130 (121 to 139) before, 260" in text
    assert "different machines" not in text
    assert "different machines" in compare(pages(1), {"pages": part({}, "another")})


def test_figures_to_hold() -> None:
    def verdicts(parts: dict[str, Any]) -> dict[str, str]:
        return {what: verdict for what, _, _, verdict in held.rows(parts)}

    what = "logged-in page against Django's engine `db`: `database`, SQLite"
    assert verdicts(pages(1.2))[what] == "held"
    assert verdicts(pages(1.1))[what] == "**not held**"
    assert set(verdicts({}).values()) == {"–"}  # noqa: RUF001


def test_a_table_under_another_title_is_not_taken_for_one_that_was_not_measured() -> None:
    renamed = {"pages": part({"pages with SQLite": {}})}
    with pytest.raises(LookupError, match="but 'pages with SQLite'"):
        held.rows(renamed)


def test_figures_to_hold_are_found_in_what_was_measured() -> None:
    measured = json.loads((TEMPLATE / "docs" / "benchmarks.json").read_text("utf-8"))
    for figure in held.wanted():
        try:
            figure.measured(measured)
        except KeyError as missing:
            left_out = {*NAMES, *ON_DEMAND} - set(measured)
            assert missing.args[0] in left_out, f"{figure.what}: no {missing}"


def test_page_says_where_django_is_faster_and_leaves_no_place_empty() -> None:
    slow, fast = page(pages(0.8), pages(0.8)), page(pages(1.3))
    assert "- pages on SQLite, requests/s: stock db 100; database 80." in slow
    assert "stock db 100;" not in fast
    assert "6 of 6 figures agree" in slow
    assert "No second run" in fast
    for text in (slow, fast, page({})):
        assert "[[" not in text
    assert all(f"`{name}`" in page({name: part({}) for name in NAMES}) for name in NAMES)


def test_json_keeps_the_benchmarks_that_did_not_run_again(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    add_to(path, "live", part({}))
    for ratio in (1.0, 1.3):
        add_to(path, "pages", pages(ratio)["pages"])
    assert json.loads(path.read_text("utf-8")) == {"live": part({})} | pages(1.3)


ANSWERS = [
    *(Answer(-1 + n / 100, 10.0, "ok") for n in range(100)),
    Answer(0.2, 400.0, "error"),
    *(Answer(1 + n / 100, 20.0, "ok") for n in range(300)),
    Answer(3.9, 90.0, "logged out"),
    Answer(7.0, 0.5, "ok"),
]


def test_figures_of_an_outage() -> None:
    figures = figures_of(ANSWERS, lasted=4.0)
    assert figures["errors"] == figures["logged out"] == 1
    assert figures["slowest, noticing"] == 400
    assert figures["usual p99"] == 10
    assert figures["p99 once noticed"] == 20


def test_plot_has_a_panel_for_each_fault_and_shows_every_request() -> None:
    panels = [
        {"fault": fault, "who": who, "lasted": 4.0, "answers": ANSWERS}
        for fault in ("stopped", "hung")
        for who in ("this template", "Django's")
    ]
    assert grid(panels) == (["stopped", "hung"], ["this template", "Django's"])
    found = series(panels[0])
    assert sum(len(at) for at, _ in found.values()) == len(ANSWERS)
    assert found["error"] == ([0.2], [400.0])
    assert min(found["ok"][1]) == 1.0  # the lower end of the axis
    assert caption(panels[0]) == "stopped: 2 of 303 failed, slowest 400 ms"
