"""Every page, light and dark, as a picture: taken for the documentation when asked to.

nox -s "browser(database)" -- --screenshots=docs/screenshots
pngquant --force --ext=.png docs/screenshots/*.png
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from proof.browser.conftest import ERRORS, Console, ask_for_link, log_in, press
from proof.site import Site

pytestmark = pytest.mark.any_profile

LARGEST = 80_000  # bytes


class Album:
    """Takes pictures of pages as a window shows them, or only shows them."""

    def __init__(self, folder: Path | None, page: Page, scheme: str) -> None:
        self.folder, self.page, self.scheme = folder, page, scheme

    def take(self, name: str) -> None:
        self.page.mouse.move(0, 0)
        picture = self.page.screenshot(animations="disabled", caret="hide")
        if self.folder:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / f"{name}-{self.scheme}.png").write_bytes(picture)
            assert len(picture) < LARGEST, f"{name} takes {len(picture)} bytes"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page(
    site: Site,
    person: str,
    mailbox: Path,
    window: Callable[..., Page],
    console: Console,
    pytestconfig: pytest.Config,
    scheme: str,
) -> None:
    size: ViewportSize = {"width": 960, "height": 580}
    page = window(color_scheme=scheme, viewport=size, timezone_id="Europe/Berlin")
    album = Album(pytestconfig.getoption("--screenshots"), page, scheme)
    page.goto("/accounts/login/")
    album.take("login")
    press(page, "Log in")
    album.take("login-errors")
    page.goto("/accounts/password/reset/")
    album.take("password-reset")
    page.get_by_label("Email address").fill("nobody@example.com")
    press(page, "Send the link")
    album.take("password-reset-sent")
    page.goto("/accounts/password/reset/x/y/")
    album.take("password-reset-expired")
    page.goto(ask_for_link(page, person, mailbox))
    album.take("password-new")
    page.goto("/accounts/sign-up/")
    album.take("sign-up")
    link = ask_for_link(page, f"{scheme}@example.com", mailbox, "/accounts/sign-up/")
    album.take("sign-up-sent")
    page.goto(link)
    album.take("sign-up-password")
    for status, address in ERRORS.items():
        page.goto(address)
        console.accept(status)
        album.take(status)
    for _ in range(5):
        log_in(page, f"nobody-{scheme}@example.com", "wrong")
    console.accept("429")
    album.take("wait")
    mac = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Version/26.0 Safari/605.1.15"
    phone = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) CriOS/141.0 Safari/604.1"
    log_in(window(user_agent=mac), person)
    log_in(page, person)
    page.goto("/admin/")
    console.accept("403")
    album.take("login-denied")
    page.goto("/dashboard/")
    expect(page.locator("#services")).to_contain_text("database")
    expect(page.locator("#live-state")).to_have_text("connected")
    log_in(window(user_agent=phone), person)
    expect(page.locator("#events li")).to_contain_text("Chrome on iPhone")
    expect(page.locator("#session-count")).to_have_text("3")
    page.set_viewport_size({**size, "height": 740})
    album.take("dashboard")
    page.set_viewport_size({"width": 390, "height": 844})
    album.take("dashboard-phone")
    page.set_viewport_size(size)
    page.goto("/accounts/sessions/")
    album.take("sessions")
    page.goto("/accounts/password/change/")
    album.take("password-change")
    page.goto("/accounts/confirm/")
    album.take("confirm")
