"""What people do with their account, in a real browser."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import BrowserContext, Page, Playwright, expect

from proof.browser.conftest import LAUNCH, Console, expect_page, log_in, press
from proof.site import EMAIL, PASSWORD, Site

pytestmark = pytest.mark.any_profile


def test_logging_in_and_out(page: Page, person: str) -> None:
    log_in(page, person, "wrong")
    expect(page.get_by_role("alert")).to_contain_text("Incorrect email address or password")
    expect(page.get_by_label("Email address")).to_have_value(person)
    expect(page.get_by_label("Password")).to_have_value("")
    page.get_by_label("Password").fill(PASSWORD)
    press(page, "Log in")
    expect_page(page, "Hello, Ada")
    expect(page.get_by_text(person)).to_be_visible()
    press(page, "Log out")
    expect_page(page, "Log in")
    page.go_back()  # the browser kept nothing
    expect_page(page, "Log in")


def test_errors_stand_next_to_their_field(page: Page) -> None:
    page.goto("/accounts/login/")
    page.get_by_label("Email address").fill("not an address")
    press(page, "Log in")
    for label, error in (
        ("Email address", "Enter a valid email address."),
        ("Password", "This field is required."),
    ):
        field = page.get_by_label(label)
        expect(field).to_have_accessible_description(error)
        expect(field).to_have_attribute("aria-invalid", "true")
        below = page.get_by_text(error).bounding_box()
        box = field.bounding_box()
        assert box and below and 0 <= below["y"] - (box["y"] + box["height"]) < 20


@pytest.mark.parametrize("remember", [True, False])
def test_remember_me_across_a_restart_of_the_browser(
    playwright: Playwright,
    site: Site,
    console: Console,
    person: str,
    tmp_path: Path,
    remember: bool,
) -> None:
    def launch() -> BrowserContext:
        context = playwright.chromium.launch_persistent_context(
            tmp_path, base_url=site.url, ignore_https_errors=True, **LAUNCH
        )
        return console.watch(context)

    with launch() as context:
        log_in(context.new_page(), person, remember=remember)
    with launch() as context:
        page = context.new_page()
        page.goto("/")
        expect_page(page, "Hello, Ada" if remember else "Log in")


def test_by_keyboard_alone(page: Page, person: str) -> None:
    """From the login to the end of the session, with a visible focus at every step."""

    def tab_to(name: str) -> None:
        for _ in range(20):
            page.keyboard.press("Tab")
            focused = page.locator(":focus")
            assert focused.evaluate("e => getComputedStyle(e).outlineStyle") != "none"
            text = focused.evaluate("e => e.textContent.trim() || e.labels?.[0].textContent")
            if text == name:
                return
        raise AssertionError(f"The Tab key does not reach {name!r}.")

    page.goto("/accounts/login/")
    expect(page.get_by_label("Email address")).to_be_focused()
    page.keyboard.type(person)
    tab_to("Password")
    page.keyboard.type(PASSWORD)
    tab_to("Remember me on this device")
    page.keyboard.press("Space")
    expect(page.get_by_label("Remember me")).to_be_checked()
    tab_to("Log in")
    page.keyboard.press("Enter")
    expect_page(page, "Hello, Ada")
    tab_to("Skip to content")
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()
    page.reload()
    tab_to("Sessions")
    page.keyboard.press("Enter")
    expect_page(page, "Your sessions")
    tab_to("Log out")
    page.keyboard.press("Enter")
    expect_page(page, "Log in")


def test_dates_are_in_the_readers_time_zone_and_format(
    window: Callable[..., Page], person: str
) -> None:
    page = window(timezone_id="Asia/Tokyo", locale="en-GB")
    log_in(page, person)
    page.goto("/accounts/sessions/")
    since = page.get_by_role("time").first
    moment = datetime.fromisoformat(since.get_attribute("datetime") or "")
    there = moment.astimezone(ZoneInfo("Asia/Tokyo"))
    expect(since).to_have_text(f"{there.day} {there:%b %Y, %H:%M}")


def test_the_admin(page: Page, site: Site) -> None:
    """Its scripts and styles run under the site's policy."""
    log_in(page, EMAIL)
    page.get_by_role("link", name="Admin").click()
    page.get_by_role("link", name="Users", exact=True).first.click()
    page.get_by_role("link", name=EMAIL).click()
    expect(page.get_by_text("Today", exact=True).first).to_be_visible()  # made by a script
    page.get_by_role("link", name="Change password").click()
    expect(page).to_have_url(f"{site.url}/accounts/password/change/")
