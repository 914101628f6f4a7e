"""Neither pages nor their times reveal whether an address has an account: 200 of each.

It needs a quiet machine, so no session runs it. After `nox -s environment`:
`.nox/environment/bin/python -m pytest -s proof/test_enumeration.py`.
"""

import itertools
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from statistics import mean, quantiles
from typing import Any
from urllib.parse import quote

import pytest

from proof.site import Site

pytestmark = [pytest.mark.any_profile, pytest.mark.slow]

SAMPLES = 200


@pytest.fixture(scope="module")
def site(profile: str, topology: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site with SAMPLES accounts, which writes mail to files."""
    folder = tmp_path_factory.mktemp("enumeration")
    mail = f"filemail:///{quote((folder / 'mail').as_posix())}"
    variables = topology.environment() if topology else {}
    with Site(folder, profile, variables | {"EMAIL_URL": mail, "SIGN_UP": "1"}).running() as site:
        site.create_users(*(f"known{number}@example.com" for number in range(SAMPLES)))
        yield site


# The page, its fields, and how many clients ask at once.
PAGES = {
    "/accounts/login/": ("username", 2),
    "/accounts/password/reset/": ("email", 8),
    "/accounts/sign-up/": ("email", 8),
}


@pytest.mark.parametrize("page", PAGES)
def test_enumeration(site: Site, page: str) -> None:
    field, clients = PAGES[page]
    times = {"known": list[float](), "unknown": list[float]()}
    # One of each kind in turn, so that other work of the machine affects both.
    pairs = [[f"{kind}{n}@example.com" for kind in times] for n in range(SAMPLES)]
    for pair in pairs:
        random.shuffle(pair)
    addresses = itertools.count(10 << 24)  # each asks from an address of its own
    answers = set()

    def ask(pairs: list[list[str]]) -> None:
        with site.browser(timeout=60) as browser:
            form = browser.get(page)
            for name in itertools.chain(*pairs):
                number = next(addresses)
                browser.headers["X-Forwarded-For"] = ".".join(map(str, number.to_bytes(4, "big")))
                fields = {field: name, "password": "wrong"}
                started = time.perf_counter()
                answer = browser.post_form(form, fields, page)
                kind = "unknown" if name.startswith("unknown") else "known"
                times[kind].append(time.perf_counter() - started)
                text = answer.text.replace(name, "").partition("csrfmiddlewaretoken")[0]
                answers.add((answer.status_code, answer.headers.get("Location"), text))

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(ask, (pairs[n::clients] for n in range(clients))))
    assert len(answers) == 1, answers
    means = {kind: mean(middle(values)) for kind, values in times.items()}
    print(f"\n{page}", *(f"{kind}: {value * 1000:.1f} ms" for kind, value in means.items()))
    assert abs(means["known"] / means["unknown"] - 1) < 0.05, means


def middle(values: list[float]) -> list[float]:
    """Return the middle half of the values, without the outliers of a busy machine."""
    assert len(values) == SAMPLES
    low, _, high = quantiles(values, n=4)
    return [value for value in values if low <= value <= high]
