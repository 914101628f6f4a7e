"""A plugin of pytest for `proof.mutants`: run the tests that reach a mutant first.

The first run, without a mutant, adds to `mutants.json` which lines each test reaches, and how
long it takes. Later runs begin with the tests that reach the changed line, the quickest first.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import coverage
import pytest

PATH = Path("mutants.json")
known = json.loads(PATH.read_text("utf-8"))
texts, took = known["texts"], known.setdefault("took", {})
measured = coverage.Coverage(data_file=None, config_file=False, include=[*texts])
measured.set_option("run:disable_warnings", ["no-data-collected"])  # hooks run as copies
if not took:
    measured.start()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
        measured.switch_context(item.nodeid)
        start = time.monotonic()
        done = yield
        took[item.nodeid] = time.monotonic() - start
        return done

    def pytest_sessionfinish() -> None:
        measured.stop()
        tests = measured.get_data().contexts_by_lineno
        known["reached"] = {name: tests(str(Path(name).resolve())) for name in texts}
        PATH.write_text(json.dumps(known), "utf-8")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for name, text in texts.items():
        pairs = zip(text.splitlines(), Path(name).read_text("utf-8").splitlines(), strict=False)
        for number, (before, now) in enumerate(pairs, 1):
            if before != now:
                first = known["reached"][name].get(str(number), ())
                items.sort(key=lambda item: (item.nodeid not in first, took.get(item.nodeid, 0)))
                return
