"""`manage.py doctor`: what it prints, and its exit code."""

import json
from typing import Any

import pytest
from django.core.management import call_command
from outlast import probes
from outlast.probes import Finding, Probe, Result, State

WELL = Result(Probe("roof", lambda: None), Finding(State.OK, "dry"), 1.23)
ODD = Result(
    Probe("chimney", lambda: None), Finding(State.WARNING, "Smokes.", ("sweep it", "or not")), 4
)
ILL = Result(Probe("cellar", lambda: None), Finding(State.DOWN, "Flooded.", ("pump",)), 250)
LEFT = Result(Probe("wine", lambda: None), Finding(State.SKIPPED, "Not asked."), 0)


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[Result]:
    """What the probes will find; empty to begin with."""
    results: list[Result] = []
    monkeypatch.setattr(probes, "check_up", lambda: list(results))
    return results


def test_all_well(found: list[Result], capsys: Any) -> None:
    found += [WELL]
    call_command("doctor", no_color=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:] == ["ok    roof      1.2 ms  dry", "All 1 are well."]


def test_the_worst_comes_first_with_what_mends_it(found: list[Result], capsys: Any) -> None:
    found += [WELL, LEFT, ODD, ILL]
    with pytest.raises(SystemExit) as end:
        call_command("doctor", no_color=True)
    assert end.value.code == 1
    assert capsys.readouterr().out.splitlines()[1:] == [
        "DOWN  cellar     250.0 ms  Flooded.",
        "      > pump",
        "warn  chimney      4.0 ms  Smokes.",
        "      > sweep it",
        "      > or not",
        "ok    roof         1.2 ms  dry",
        "Not asked, since what they need is down: wine.",
        "2 of 4 need you.",
    ]


def test_json(found: list[Result], capsys: Any, settings: Any) -> None:
    found += [WELL, ODD]
    with pytest.raises(SystemExit) as end:
        call_command("doctor", json=True)
    assert end.value.code == 1
    answer = json.loads(capsys.readouterr().out)
    assert (answer["profile"], answer["healthy"]) == (settings.PROFILE, False)
    assert answer["answers"][0] == {
        "name": "chimney",
        "state": "warning",
        "milliseconds": 4,
        "text": "Smokes.",
        "remedies": ["sweep it", "or not"],
    }
