"""Requests as attackers send them: planted cookies, unreadable forms, and 5,000 at random."""

import re
from collections import Counter

import pytest
from websockets.exceptions import InvalidStatus

from proof import fuzz
from proof.page import opened
from proof.site import Site

pytestmark = pytest.mark.any_profile

SEED, COUNT = 20261126, 5000
LOG_BYTES = 1000  # for each request, on average
LOG_LINE = 4000
HEADERS = ["Content-Security-Policy", "X-Content-Type-Options", "Permissions-Policy"]


def dashboard(site: Site, cookies: bytes) -> int:
    with site.browser() as browser:
        return browser.get("/dashboard/", headers=[(b"cookie", cookies)]).status_code


def socket(site: Site, cookie: str) -> bool:
    """Whether a WebSocket with these cookies is accepted."""
    try:
        with site.browser() as browser, opened(site, browser, cookie=cookie):
            return True
    except InvalidStatus:
        return False


def test_only_the_exact_name_of_the_session_cookie_counts(site: Site) -> None:
    with site.browser() as browser:
        browser.log_in()
        own = f"__Host-sessionid={browser.session_key}".encode()
    planted = b"\xa0__Host-sessionid=planted"
    assert dashboard(site, own) == 200
    assert dashboard(site, own + b"; " + planted) == 200
    assert dashboard(site, planted + b"; " + own) == 200
    assert dashboard(site, b"\xa0" + own) == 302
    assert dashboard(site, own + b"; __Host-sessionid=other") == 302
    assert socket(site, own.decode())
    assert socket(site, (own + b"; " + planted).decode("latin-1"))
    assert not socket(site, (b"\xa0" + own).decode("latin-1"))
    assert not socket(site, (own + b"; " + own).decode())


@pytest.mark.parametrize("path", ["/accounts/login/", "/nowhere/"])
@pytest.mark.parametrize("charset", ["=utf-16", "=idna", "=hex", "=undefined", "*=nonsense''x"])
@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data"])
def test_a_form_that_cannot_be_read_is_refused(
    site: Site, path: str, charset: str, kind: str
) -> None:
    headers = {
        "Content-Type": f"{kind}; boundary=b; charset{charset}",
        "Cookie": f"__Host-csrftoken={fuzz.SECRET}",
        "X-CSRFToken": fuzz.SECRET,
        "Origin": site.url,
    }
    with site.browser() as browser:
        for body in fuzz.PARTS:
            response = browser.post(path, headers=headers, content=body)
            assert response.status_code == 400
            assert "This request could not be read" in response.text
            assert all(name in response.headers for name in HEADERS)


@pytest.mark.slow
def test_no_request_causes_a_server_error(site: Site) -> None:
    log = site.folder / "var" / "server.log"
    start = log.stat().st_size
    attacker = fuzz.Attacker(site)
    counts: Counter[int] = Counter()
    for number, request in enumerate(fuzz.requests(SEED, COUNT, site)):
        response = attacker.send(request)
        assert response, f"seed {SEED}, request {number}: no response to {request.data[:500]!r}"
        assert response.status < 500, f"seed {SEED}, request {number}: {request.data[:500]!r}"
        counts[response.status] += 1
    attacker.connection.close()
    print(f"seed {SEED}: {sorted(counts.items())}")
    assert counts[200] > COUNT / 20 and counts[400] > COUNT / 20, "it does not reach the views"
    with log.open("rb") as file:
        file.seek(start)
        lines = file.read().splitlines()
    print(f"{sum(map(len, lines)) / COUNT:.0f} bytes of log for each request")
    assert max(map(len, lines)) < LOG_LINE
    assert sum(map(len, lines)) < COUNT * LOG_BYTES
    assert not any(re.search(rb"Traceback", line) for line in lines)
