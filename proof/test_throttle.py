"""The throttle behind a proxy, from outside: which address counts, and which is only claimed.

The site trusts the proxy on its own machine, as by default. The tests speak as that proxy,
which appends, as nginx and load balancers do, to what the client itself wrote.
"""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from proof.site import PASSWORD, Site

pytestmark = [pytest.mark.any_profile, pytest.mark.slow]

GUESSER, OWNER = "203.0.113.9", "198.51.100.7"
LIMIT = 5


def log_in(site: Site, address: str, password: str, claims: str = "", name: str = "grace") -> int:
    """Return the status of a login that came through the proxy from `address`."""
    with site.browser(timeout=60) as browser:
        browser.headers["X-Forwarded-For"] = f"{claims}, {address}" if claims else address
        return browser.log_in(f"{name}@example.com", password).status_code


def test_what_a_guesser_claims_is_not_believed(site: Site) -> None:
    site.create_users("grace@example.com")
    answers = [log_in(site, GUESSER, "wrong", f"192.0.2.{n}") for n in range(LIMIT)]
    assert answers == [200] * (LIMIT - 1) + [429]
    assert log_in(site, GUESSER, PASSWORD, OWNER) == 429
    assert log_in(site, OWNER, PASSWORD) == 302
    site.manage("unlock", "Grace@Example.com")
    assert log_in(site, GUESSER, PASSWORD) == 302


def test_hundreds_of_guesses_at_once_gain_nothing(site: Site) -> None:
    """Thirty at a time; the last thirty are right."""
    site.create_users("many@example.com")
    guesses = ["wrong"] * 270 + [PASSWORD] * 30
    with ThreadPoolExecutor(30) as pool:
        counts = Counter(pool.map(lambda x: log_in(site, GUESSER, x, name="many"), guesses))
    assert set(counts) <= {200, 429}, counts
    assert counts[200] <= LIMIT + 8, counts  # as many more as there are threads
