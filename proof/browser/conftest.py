"""A real Chromium, people to log in, and a check of the errors in its console."""

import itertools
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    BrowserType,
    ConsoleMessage,
    Page,
    expect,
    sync_playwright,
)

from proof.site import PASSWORD, Site

# The first one draws no windows, which takes half the time.
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome")
PEOPLE = 40
# Where each status is answered.
ERRORS = {"404": "/nowhere/"} | {each: f"/broken/{each}/" for each in ("403", "500", "503")}
BROKEN = """
from django.core.exceptions import PermissionDenied
from django.db import OperationalError

def fail(request, status):
    raise {403: PermissionDenied, 500: RuntimeError, 503: OperationalError}[status]("on purpose")

urlpatterns += [path("broken/<int:status>/", fail)]
"""
# Chromium's sandbox does not run as root, as in containers.
ARGUMENTS = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--screenshots", type=Path, help="write a picture of each page to a folder")


def chromium() -> str | None:
    """Return the path of this machine's Chromium: BROWSER_PATH, or the first on PATH."""
    return os.environ.get("BROWSER_PATH") or next(filter(None, map(shutil.which, NAMES)), None)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Report that no browser was found; fail if its tests were requested."""
    if not chromium():
        required = os.environ.get("BROWSER_REQUIRED", "0") != "0"
        pytest.exit(
            "NOT PROVED in a browser: there is no Chromium on PATH. Install it "
            "(apt install chromium, brew install --cask chromium), or name one in BROWSER_PATH.",
            returncode=int(required),
        )
    expect.set_options(timeout=20_000)  # milliseconds, for a busy machine


@pytest.fixture(scope="session")
def mailbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the site's mail arrives."""
    return tmp_path_factory.mktemp("mail")


@pytest.fixture(scope="session")
def site(
    topology: Any, profile: str, mailbox: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """A running site on the profile, which writes mail to files and has pages that fail."""
    variables = topology.environment() if topology else {}
    variables["EMAIL_URL"] = f"filemail:///{quote(mailbox.as_posix())}"
    variables["SIGN_UP"] = "1"
    added = {"config/urls.py": BROKEN}
    site = Site(tmp_path_factory.mktemp("site"), profile, variables, added=added)
    with site.running():
        yield site


@pytest.fixture(scope="session")
def people(site: Site) -> Iterator[str]:
    """Addresses of users with PASSWORD, each used once: failed logins are counted per user."""
    script = f"""
from accounts.models import User
from django.contrib.auth.hashers import make_password
password = make_password({PASSWORD!r})
for number in range({PEOPLE}):
    User.objects.create(
        email=f"person{{number}}@example.com", password=password, name="Ada Lovelace")
"""
    site.manage("shell", "-c", script)
    return (f"person{number}@example.com" for number in itertools.count())


@pytest.fixture
def person(people: Iterator[str]) -> str:
    """The address of a user who has not logged in yet."""
    return next(people)


@pytest.fixture(scope="session")
def browser_type() -> Iterator[BrowserType]:
    with sync_playwright() as playwright:
        yield playwright.chromium


@pytest.fixture(scope="session")
def launch() -> dict[str, Any]:
    """The options with which Chromium is started."""
    return {"executable_path": chromium(), "args": ARGUMENTS}


@pytest.fixture(scope="session")
def browser(browser_type: BrowserType, launch: dict[str, Any]) -> Iterator[Browser]:
    browser = browser_type.launch(**launch)
    yield browser
    browser.close()


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
def options(site: Site) -> dict[str, Any]:
    """The options of a window: the temporary certificate has no authority."""
    return {"base_url": site.url, "ignore_https_errors": True}


@pytest.fixture
def window(
    browser: Browser, options: dict[str, Any], console: Console
) -> Iterator[Callable[..., Page]]:
    """A function that opens a browser window with cookies of its own."""
    with ExitStack() as stack:

        def window(**more: Any) -> Page:
            context = browser.new_context(**options | more)
            stack.callback(context.close)
            return console.watch(context).new_page()

        yield window


@pytest.fixture
def page(window: Callable[..., Page]) -> Page:
    """A browser window."""
    return window()


def press(page: Page, name: str) -> None:
    """Press a button and wait for the next page."""
    with page.expect_navigation():
        page.get_by_role("button", name=name).click()


def log_in(page: Page, person: str, password: str = PASSWORD, remember: bool = False) -> None:
    """Log in with the login page; the next page is the dashboard if that worked."""
    page.goto("/accounts/login/")
    page.get_by_label("Email address").fill(person)
    page.get_by_label("Password").fill(password)
    if remember:
        page.get_by_label("Remember me").check()
    press(page, "Log in")


def ask_for_link(
    page: Page, person: str, mailbox: Path, address: str = "/accounts/password/reset/"
) -> str:
    """Ask for a link on a page, wait for the mail and return the link in it."""
    page.goto(address)
    page.get_by_label("Email address").fill(person)
    press(page, "Send the link")
    return wait_for_link(page, person, mailbox)


def wait_for_link(page: Page, person: str, mailbox: Path) -> str:
    """Return the link in the mail to `person`, as soon as it has arrived."""
    for _ in range(100):
        for path in mailbox.iterdir():
            mail = message_from_bytes(path.read_bytes(), policy=policy.default)
            link = re.search(r"https://\S+/(reset|sign-up)/\S+/", str(mail.get_content()))
            if mail["To"] == person and link:
                return link[0]
        page.wait_for_timeout(100)
    raise AssertionError(f"No mail to {person} within ten seconds.")


def choose_password(page: Page, password: str, button: str) -> None:
    """Fill in the form that a link leads to."""
    page.get_by_label("New password", exact=True).fill(password)
    page.get_by_label("New password confirmation").fill(password)
    press(page, button)
