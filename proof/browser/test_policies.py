"""What the Content-Security-Policy lets an owner's pages do, in a real browser."""

import re

import pytest
from playwright.sync_api import Page, expect

from proof.browser.conftest import Console, log_in

pytestmark = pytest.mark.any_profile


def test_a_form_may_lead_to_another_site(page: Page) -> None:
    page.goto("/pay/")
    page.get_by_role("button", name="Pay").click()
    page.wait_for_url("https://localhost:*/healthz")  # answers at any name


def test_a_frame_of_the_own_site_and_an_image_as_data(page: Page) -> None:
    page.goto("/framing/")
    expect(page.frame_locator("iframe").get_by_text("inside")).to_be_visible()
    dot = page.get_by_alt_text("dot")
    assert dot.evaluate("image => image.decode().then(() => image.naturalWidth)") == 1


def test_the_script_of_the_documentation_saves(page: Page, person: str) -> None:
    log_in(page, person)
    page.goto("/note/")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#saved")).to_have_text("Buy milk")


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
