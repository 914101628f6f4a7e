"""Live events on the dashboard, in real browsers."""

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from playwright.sync_api import Page, WebSocketRoute, expect

from proof.browser.conftest import (
    IPHONE,
    NEW,
    Console,
    choose_password,
    expect_page,
    log_in,
    press,
)
from proof.site import PASSWORD, TEMPLATE, Site


def watch(page: Page, person: str) -> Page:
    """Log in, and wait until the dashboard is connected."""
    log_in(page, person)
    expect(page.locator("#live-state")).to_have_text("connected")
    return page


def test_a_login_elsewhere_shows_in_every_open_browser(
    window: Callable[..., Page], people: Any
) -> None:
    person = next(people)
    here, stranger = watch(window(), person), watch(window(), next(people))
    expect(here.locator("#session-count")).to_have_text("1")
    log_in(window(user_agent=IPHONE), person)
    expect(here.locator("#events li")).to_have_text(
        re.compile(r"^Logged in from Chrome on iPhone\. \w+ \d+, \d{4}, \d+:\d\d")
    )
    expect(here.locator("#session-count")).to_have_text("2")
    expect(stranger.locator("#events li")).to_have_count(0)


def test_the_documented_script_receives_events(window: Callable[..., Page], person: str) -> None:
    """As docs/live.md of the site has it, for an event that the site itself sends."""
    document = (TEMPLATE / "{{cookiecutter.project_slug}}" / "docs" / "live.md").read_text("utf-8")
    (script,) = re.findall(r"^```js page\n(.*?)^```$", document, re.MULTILINE | re.DOTALL)
    here = watch(window(), person)
    here.evaluate(script.replace("order_shipped", "signed_in"))
    log_in(window(user_agent=IPHONE), person)
    expect(here).to_have_title(re.compile("^Logged in from Chrome on iPhone"))


def test_a_session_that_is_ended_takes_its_page_away(
    window: Callable[..., Page], person: str, site: Site
) -> None:
    """The browser that ends it logged in an hour ago, so it must confirm the password first."""
    there, here = watch(window(), person), watch(window(), person)
    earlier = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    change = f"filter(user__email={person!r}).update(authenticated={earlier!r})"
    site.manage("shell", "-c", f"from outlast.models import Session as S; S.objects.{change}")
    here.goto("/accounts/sessions/")
    expect(here.get_by_role("button", name="End")).to_have_count(0)
    here.get_by_role("link", name="Confirm your password").click()
    for password in ("wrong", PASSWORD):
        here.get_by_label("Password").fill(password)
        press(here, "Confirm")
    there.get_by_role("link", name="Skip to content").press("Enter")  # the address gets #main
    press(here, "End all other sessions")
    alert = there.get_by_role("alert")
    expect(alert).to_have_text("This session was ended elsewhere. Log in again")
    expect(there.get_by_text(person)).to_have_count(0)
    there.get_by_role("link", name="Log in again").click()
    there.wait_for_url("**/accounts/login/?next=/dashboard/")


def test_a_new_password_leaves_this_browser_connected(
    window: Callable[..., Page], person: str
) -> None:
    """Its session is replaced; a second tab uses the new one, and all others have ended."""
    here, there = watch(window(), person), watch(window(), person)
    tab = here.context.new_page()
    tab.goto("/accounts/password/change/")
    tab.get_by_label("Old password").fill(PASSWORD)
    choose_password(tab, "Change password")
    expect(here.locator("#events li").first).to_contain_text("Password changed.")
    expect(there.get_by_role("alert")).to_contain_text("This session was ended elsewhere.")
    expect(here.locator("#live-state")).to_have_text("connected")
    expect(here.get_by_role("alert")).to_have_count(0)
    log_in(there, person, NEW)
    expect_page(there, "Hello, Ada")


def test_reconnects_and_fetches_what_was_missed(
    site: Site, window: Callable[..., Page], person: str, console: Console
) -> None:
    here = watch(window(), person)
    expect(here.locator("#session-count")).to_have_text("1")
    site.stop()
    expect(here.locator("#live-state")).to_have_text("reconnecting…")
    missed = "from django.test import Client; from accounts.models import User; "
    missed += f"Client().force_login(User.objects.get(email={person!r}))"
    site.manage("shell", "-c", missed)
    site.start()
    expect(here.locator("#live-state")).to_have_text("connected", timeout=40_000)
    expect(here.locator("#session-count")).to_have_text("2")
    log_in(window(user_agent=IPHONE), person)
    expect(here.locator("#events li")).to_contain_text("Chrome on iPhone")
    console.accept("ERR_CONNECTION_REFUSED")


def test_a_page_kept_for_the_back_button_connects_again(page: Page, person: str) -> None:
    watch(page, person)
    page.get_by_role("link", name="Password").click()
    page.go_back()
    expect(page.locator("#live-state")).to_have_text("connected")


def test_a_visible_page_that_was_one_too_many_connects_again(page: Page, person: str) -> None:
    sockets: list[WebSocketRoute] = []

    def take(socket: WebSocketRoute) -> None:
        socket.connect_to_server()
        sockets.append(socket)

    page.clock.install()
    page.route_web_socket("**/ws/events/", take)
    watch(page, person)
    sockets[0].close(code=4429)
    expect(page.locator("#live-state")).to_have_text("reconnecting…")
    page.clock.fast_forward(30_000)
    assert len(sockets) == 1
    page.clock.fast_forward(31_000)
    expect(page.locator("#live-state")).to_have_text("connected")


def test_without_scripts_it_is_a_plain_page(window: Callable[..., Page], person: str) -> None:
    page = window(java_script_enabled=False)
    log_in(page, person)
    expect_page(page, "Hello, Ada")
    expect(page.locator("#live")).to_be_hidden()
    page.get_by_role("link", name="Sessions").click()
    expect(page.get_by_role("time").first).to_contain_text("UTC")
    press(page, "Log out")
    expect_page(page, "Log in")


def test_without_websockets_it_is_a_plain_page(page: Page, person: str) -> None:
    page.add_init_script("delete window.WebSocket")
    log_in(page, person)
    expect_page(page, "Hello, Ada")
    time.sleep(0.5)
    expect(page.locator("#live")).to_be_hidden()
