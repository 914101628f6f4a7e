"""Live events from outside: uvicorn, TLS, cookies, and as many processes as the profile has."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from threading import Event, Thread

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from proof.page import Page, opened
from proof.postgres import Postgres
from proof.site import EMAIL, PASSWORD, Browser, Site, free_port

STRANGER = "eve@example.com"
LIMIT = 64 * 1024  # bytes of a message, OUTLAST["WEBSOCKET_MAX_BYTES"]


@pytest.fixture(scope="module")
def ports(site: Site, profile: str, postgres: Postgres | None) -> Iterator[list[int]]:
    """Where the site is served: by two processes, each on its port, unless it is on SQLite."""
    site.create_users(STRANGER)
    if not (profile.startswith("redis") or postgres):
        yield [site.port, site.port]
        return
    port = free_port()
    server = site.start(port=port)
    yield [site.port, port]
    site.stop(server)


@pytest.fixture
def page(site: Site, ports: list[int]) -> Iterator[Callable[..., Page]]:
    """A function that opens the socket of a page, at the first process or the second."""
    with ExitStack() as stack:

        def page(browser: Browser, process: int = 0, **options: str) -> Page:
            return stack.enter_context(opened(site, browser, port=ports[process], **options))

        yield page


@pytest.fixture
def browsers(site: Site, ports: list[int]) -> Iterator[Callable[..., Browser]]:
    """A function that logs in with one more browser."""
    with ExitStack() as stack:

        def log_in(email: str = EMAIL) -> Browser:
            browser = stack.enter_context(site.browser())
            assert browser.log_in(email).status_code == 302
            return browser

        yield log_in


@pytest.fixture(scope="module")
def ada(site: Site) -> Iterator[Browser]:
    """A browser that stays logged in, since passwords take long to hash."""
    with site.browser() as browser:
        assert browser.log_in().status_code == 302
        yield browser


def test_an_event_reaches_only_the_users_other_browser(
    ada: Browser, browsers: Callable[..., Browser], page: Callable[..., Page]
) -> None:
    here, there, stranger = page(ada), page(browsers(), 1), page(browsers(STRANGER), 1)
    for each in (here, there, stranger):
        each.next_event("heartbeat")
    browsers()
    for each in (here, there):
        assert each.next_event("signed_in")["text"] == "Logged in from python-httpx2."
    assert stranger.is_quiet


def test_other_visitors_are_refused(site: Site, ada: Browser, page: Callable[..., Page]) -> None:
    plain = site.url.replace("https", "http")
    for options in ({"origin": "https://evil.example"}, {"origin": plain}, {"cookie": ""}):
        with pytest.raises(InvalidStatus) as refused:
            page(ada, **options)
        assert refused.value.response.status_code == 403, options
    log = (site.folder / "var" / "server.log").read_text("utf-8")
    assert "https://evil.example" in log and "no user is logged in" in log


def test_ends_with_its_session_in_every_process(
    ada: Browser, browsers: Callable[..., Browser], page: Callable[..., Page]
) -> None:
    other = browsers()
    pages = [page(other), page(other, 1)]
    stays = page(ada, 1)
    for each in [*pages, stays]:
        each.next_event("heartbeat")
    other.log_out()
    assert [each.end() for each in pages] == [4401, 4401]
    stays.next_event("sessions_changed")


@pytest.mark.any_profile
@pytest.mark.parametrize("frame", ["no JSON", "x" * LIMIT, "x" * (LIMIT + 1), "x" * 1_000_000])
def test_a_client_that_sends_is_disconnected(
    ada: Browser, browsers: Callable[..., Browser], page: Callable[..., Page], frame: str
) -> None:
    bad, good = page(ada), page(ada)
    good.next_event("heartbeat")
    with suppress(ConnectionClosed):
        bad.send(frame)
    # The server does not read all of a far too large message, and then the close code can be lost.
    assert bad.end(5) in ((1003,) if len(frame) <= LIMIT else (1009, 1006))
    browsers()
    good.next_event("signed_in")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")
def test_sigterm_lets_requests_finish_and_sockets_reconnect(site: Site) -> None:
    port = free_port()
    server = site.start(port=port, patience=20)
    answers: list[int] = []
    with site.browser() as ada, site.browser() as late:
        ada.log_in()
        form = late.get(f"https://127.0.0.1:{port}/accounts/login/")
        fields = {"username": EMAIL, "password": PASSWORD}

        def log_in() -> None:
            answers.append(late.post_form(form, fields, str(form.url)).status_code)

        with opened(site, ada, port=port) as page:
            page.next_event("heartbeat")
            sent = Event()
            late.event_hooks["request"] = [lambda _: sent.set()]
            request = Thread(target=log_in)
            request.start()
            assert sent.wait(10)
            time.sleep(0.05)  # hashing the password takes longer than that
            server.terminate()
            assert page.end(5) == 1012
            request.join(30)
    # Not killed by the signal, which would leave its temporary folder.
    assert server.wait(20) == 0
    assert answers == [302]
