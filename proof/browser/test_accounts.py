"""What people do with their account, in a real browser."""

import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import BrowserType, Page, expect

from proof.browser.conftest import (
    Console,
    ask_for_link,
    choose_password,
    log_in,
    press,
    wait_for_link,
)
from proof.site import EMAIL, PASSWORD, Site

pytestmark = pytest.mark.any_profile

NEW = "a rather long new one"


def expect_dashboard(page: Page) -> None:
    expect(page.get_by_role("heading", name="Hello, Ada")).to_be_visible()


def expect_login(page: Page) -> None:
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()


def test_logging_in_and_out(page: Page, person: str) -> None:
    log_in(page, person, "wrong")
    expect(page.get_by_role("alert")).to_contain_text("Incorrect email address or password")
    expect(page.get_by_label("Email address")).to_have_value(person)
    expect(page.get_by_label("Password")).to_have_value("")
    page.get_by_label("Password").fill(PASSWORD)
    press(page, "Log in")
    expect_dashboard(page)
    expect(page.get_by_text(person)).to_be_visible()
    press(page, "Log out")
    expect_login(page)
    page.go_back()  # the browser kept nothing
    expect_login(page)


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


def test_one_browser_ends_the_session_of_another(window: Callable[..., Page], person: str) -> None:
    phone = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) CriOS/141.0 Safari/604.1"
    here, there = window(), window(user_agent=phone)
    log_in(here, person)
    log_in(there, person)
    there.goto("/accounts/password/change/")
    here.get_by_role("link", name="Sessions").click()
    expect(here.get_by_role("listitem")).to_have_count(2)
    expect(here.get_by_role("listitem").filter(has_text="This session")).to_have_count(1)
    other = here.get_by_role("listitem").filter(has_text="Chrome on iPhone")
    with here.expect_navigation():
        other.get_by_role("button", name="End").click()
    expect(here.get_by_role("status")).to_contain_text("One session has ended.")
    there.get_by_role("link", name="Dashboard").click()
    expect_login(there)


@pytest.mark.parametrize("remember", [True, False])
def test_remember_me_across_a_restart_of_the_browser(
    browser_type: BrowserType,
    launch: dict[str, Any],
    options: dict[str, Any],
    console: Console,
    person: str,
    tmp_path: Path,
    remember: bool,
) -> None:
    with browser_type.launch_persistent_context(tmp_path, **launch, **options) as context:
        page = console.watch(context).new_page()
        log_in(page, person, remember=remember)
        expect_dashboard(page)
    with browser_type.launch_persistent_context(tmp_path, **launch, **options) as context:
        page = console.watch(context).new_page()
        page.goto("/")
        if remember:
            expect_dashboard(page)
        else:
            expect_login(page)


def test_a_forgotten_password(page: Page, person: str, mailbox: Path) -> None:
    page.goto("/accounts/login/")
    page.get_by_role("link", name="Forgotten your password?").click()
    expect(page).to_have_url(re.compile("/accounts/password/reset/$"))
    link = ask_for_link(page, person, mailbox)
    expect(page.get_by_role("heading", name="Check your mail")).to_be_visible()
    page.goto(link)
    choose_password(page, NEW, "Change password")
    expect(page.get_by_role("status")).to_contain_text("Log in with the new password")
    log_in(page, person, NEW)
    expect_dashboard(page)


def test_signing_up(page: Page, mailbox: Path) -> None:
    page.goto("/accounts/login/")
    page.get_by_role("link", name="Create an account").click()
    link = ask_for_link(page, "new@example.com", mailbox, "/accounts/sign-up/")
    expect(page.get_by_role("heading", name="Check your mail")).to_be_visible()
    page.goto(link)
    expect(page.get_by_text("new@example.com")).to_be_visible()
    choose_password(page, NEW, "Create the account")
    expect(page.get_by_role("heading", name="Hello, new@example.com")).to_be_visible()
    press(page, "Log out")
    page.goto(link)
    expect(page.get_by_role("heading", name="This link no longer works")).to_be_visible()
    log_in(page, "new@example.com", NEW)
    expect(page.get_by_role("heading", name="Hello, new@example.com")).to_be_visible()


def test_an_invitation(window: Callable[..., Page], mailbox: Path) -> None:
    admin, guest = window(), window()
    log_in(admin, EMAIL)
    admin.goto("/admin/accounts/user/")
    admin.get_by_role("link", name="Invite", exact=True).click()
    admin.get_by_label("Email address").fill("guest@example.com")
    admin.get_by_label("Name").fill("Ada Guest")
    with admin.expect_navigation():
        admin.get_by_role("button", name="Save", exact=True).click()
    expect(admin.get_by_text("Invited guest@example.com.")).to_be_visible()
    guest.goto(wait_for_link(guest, "guest@example.com", mailbox))
    choose_password(guest, NEW, "Create the account")
    expect_dashboard(guest)


def test_without_permission_people_can_log_in_as_another_user(
    page: Page, person: str, console: Console
) -> None:
    log_in(page, person)
    page.goto("/admin/accounts/user/")
    console.accept("403")
    expect(page.get_by_role("alert")).to_contain_text(f"You are logged in as {person}")
    page.get_by_label("Email address").fill(EMAIL)
    page.get_by_label("Password").fill(PASSWORD)
    press(page, "Log in")
    expect(page).to_have_url(re.compile("/admin/accounts/user/$"))
    expect(page.get_by_role("link", name=person)).to_be_visible()


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
    expect_dashboard(page)
    tab_to("Skip to content")
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()
    page.reload()
    tab_to("Sessions")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Your sessions")).to_be_visible()
    tab_to("Log out")
    page.keyboard.press("Enter")
    expect_login(page)


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


def test_an_injected_script_does_not_run(page: Page, console: Console) -> None:
    """The console reports it, so an empty console in other tests means something."""
    page.goto("/accounts/login/")
    page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "document.title = 'taken over'";
            document.body.append(script);
        }"""
    )
    expect(page).to_have_title(re.compile("Log in"))
    console.accept("Content Security Policy")
