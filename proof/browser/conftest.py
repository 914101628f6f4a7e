"""A real Chromium, people to log in, and a check of the errors in its console."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Playwright,
    expect,
    sync_playwright,
)

from proof.site import PASSWORD, Site
from proof.test_docs import follow

# The first one draws no windows, which takes half the time.
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome")
PEOPLE = 40
NEW = "a rather long new one"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) CriOS/141.0 Safari/604.1"
# Chromium's sandbox does not run as root, as in containers.
ARGUMENTS = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
CHROMIUM = os.environ.get("BROWSER_PATH") or next(filter(None, map(shutil.which, NAMES)), None)
LAUNCH: dict[str, Any] = {"executable_path": CHROMIUM, "args": ARGUMENTS}
# Pages of an owner, and pages that fail.
VIEWS = """

from django.core.exceptions import PermissionDenied
from django.db import OperationalError
from django.http import HttpResponse, HttpResponseRedirect
from django.views.decorators.clickjacking import xframe_options_sameorigin
from django.views.decorators.csrf import csrf_exempt

PIXEL = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="


def fail(request, status):
    raise {403: PermissionDenied, 500: RuntimeError, 503: OperationalError}[status]("on purpose")


def pay(request):
    if request.method == "POST":
        return HttpResponseRedirect(f"https://localhost:{request.get_port()}/healthz")
    return HttpResponse("<form method=post><button>Pay</button></form>")


def framing(request):
    return HttpResponse(f"<iframe src=/framed/></iframe><img alt=dot src='{PIXEL}'>")


urlpatterns += [
    path("broken/<int:status>/", fail),
    path("pay/", csrf_exempt(pay)),
    path("framing/", framing),
    path("framed/", xframe_options_sameorigin(lambda request: HttpResponse("inside"))),
]
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--screenshots", type=Path, help="write a picture of each page to a folder")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Report that no browser was found; fail if its tests were requested."""
    if not CHROMIUM:
        required = os.environ.get("BROWSER_REQUIRED", "0") != "0"
        pytest.exit(
            "NOT PROVED in a browser: there is no Chromium on PATH. Install it "
            "(apt install chromium, brew install --cask chromium), or name one in BROWSER_PATH.",
            returncode=int(required),
        )
    expect.set_options(timeout=20_000)  # milliseconds, for a busy machine


@pytest.fixture(scope="session")
def site(topology: Any, profile: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A running site on the profile, which writes mail to files, with VIEWS and docs/api.md."""
    folder = tmp_path_factory.mktemp("site")
    variables = topology.environment() if topology else {}
    variables |= {
        "SIGN_UP": "1",
        "EMAIL_URL": f"filemail:///{quote((folder / 'mail').as_posix())}",
    }
    site = Site(folder, profile, variables, added={"config/urls.py": VIEWS})
    follow(site, "api.md", only_files=True)
    site.manage("collectstatic", "--noinput")
    with site.running():
        yield site


@pytest.fixture(scope="session")
def people(site: Site) -> Iterator[str]:
    """Addresses of users with PASSWORD, each used once: failed logins are counted per user."""
    addresses = [f"person{number}@example.com" for number in range(PEOPLE)]
    site.create_users(*addresses, name="Ada Lovelace")
    return iter(addresses)


@pytest.fixture
def person(people: Iterator[str]) -> str:
    """The address of a user who has not logged in yet."""
    return next(people)


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="session")
def browser(playwright: Playwright) -> Iterator[Browser]:
    with playwright.chromium.launch(**LAUNCH) as browser:
        yield browser


class Console(list[str]):
    """The errors in the consoles of all pages."""

    def watch(self, context: BrowserContext) -> BrowserContext:
        context.on("console", self._note)
        context.on("weberror", lambda error: self.append(str(error.error)))
        return context

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.append(f"{message.text} {message.location['url']}")

    def accept(self, text: str) -> None:
        """Drop the errors that contain `text`; AssertionError if no error does."""
        expected = [line for line in self if text in line]
        assert expected, f"The console has no error with {text!r}: {self}"
        for line in expected:
            self.remove(line)


@pytest.fixture
def console() -> Iterator[Console]:
    """The errors in the consoles; a test fails if any are left at its end."""
    console = Console()
    yield console
    assert not console, "\n".join(console)


@pytest.fixture
def window(browser: Browser, site: Site, console: Console) -> Iterator[Callable[..., Page]]:
    """A function that opens a browser window with cookies of its own."""
    with ExitStack() as stack:

        def window(**options: Any) -> Page:
            # The temporary certificate has no authority.
            options |= {"base_url": site.url, "ignore_https_errors": True}
            context = stack.enter_context(browser.new_context(**options))
            return console.watch(context).new_page()

        yield window


@pytest.fixture
def page(window: Callable[..., Page]) -> Page:
    """A browser window."""
    return window()


def press(page: Page, name: str) -> None:
    """Press a button and wait for the next page."""
    with page.expect_navigation():
        page.get_by_role("button", name=name, exact=True).click()


def expect_page(page: Page, heading: str) -> None:
    expect(page.get_by_role("heading", name=heading)).to_be_visible()


def log_in(page: Page, person: str, password: str = PASSWORD, *, remember: bool = False) -> None:
    """Log in with the login page; the next page is the dashboard if that worked."""
    page.goto("/accounts/login/")
    page.get_by_label("Email address").fill(person)
    page.get_by_label("Password").fill(password)
    if remember:
        page.get_by_label("Remember me").check()
    press(page, "Log in")


def choose_password(page: Page, button: str) -> None:
    """Fill in a form that asks for a new password."""
    page.get_by_label("New password", exact=True).fill(NEW)
    page.get_by_label("New password confirmation").fill(NEW)
    press(page, button)
