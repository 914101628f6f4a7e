"""Pages fit a phone, and can be read, in light and in dark."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page

from proof.browser.conftest import ERRORS, Console, ask_for_link, log_in, press

pytestmark = pytest.mark.any_profile

PUBLIC = [
    "/accounts/login/",
    "/accounts/password/reset/",
    "/accounts/password/reset/x/y/",
    "/accounts/sign-up/",
    "/accounts/sign-up/x/y/",
]
PRIVATE = [
    "/dashboard/",
    "/accounts/sessions/",
    "/accounts/password/change/",
    "/accounts/confirm/",
]

# Texts whose contrast to what is behind them is below 4.5:1 (WCAG 2.2, 1.4.3).
FAINT = """() => {
    const parse = (color) => color.match(/[\\d.]+/g).map(Number);
    const luminance = (rgb) => rgb.slice(0, 3)
        .map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = (element) => {
        for (; element; element = element.parentElement) {
            const color = parse(getComputedStyle(element).backgroundColor);
            if (color.length === 3 || color[3] > 0) return color;
        }
        return [255, 255, 255];
    };
    const faint = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement;
        if (!walker.currentNode.textContent.trim() || !element.checkVisibility()) continue;
        const [a, b] = [parse(getComputedStyle(element).color), behind(element)]
            .map(luminance).sort((x, y) => y - x);
        const ratio = (a + 0.05) / (b + 0.05);
        if (ratio < 4.5) faint.push(`${walker.currentNode.textContent.trim()} ${ratio}`);
    }
    return faint;
}"""
TOO_WIDE = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_fit_a_phone_and_can_be_read(
    window: Callable[..., Page], console: Console, person: str, mailbox: Path, scheme: str
) -> None:
    page = window(viewport={"width": 320, "height": 600}, color_scheme=scheme)

    def look() -> None:
        assert page.evaluate(TOO_WIDE) <= 0, page.url
        assert page.evaluate(FAINT) == [], page.url

    for address in PUBLIC:
        page.goto(address)
        look()
    for status, address in ERRORS.items():
        page.goto(address)
        console.accept(status)
        look()
    for address in ("/accounts/password/reset/", "/accounts/sign-up/"):
        who = person if "reset" in address else f"phone-{scheme}@example.com"
        link = ask_for_link(page, who, mailbox, address)
        look()
        page.goto(link)
        look()
    for _ in range(5):
        log_in(page, f"nobody-{scheme}@example.org", "wrong")
    console.accept("429")
    look()
    page.goto("/accounts/login/")
    press(page, "Log in")  # with errors
    look()
    log_in(window(), person)  # so that there is another session to be shown
    log_in(page, person)
    for address in PRIVATE:
        page.goto(address)
        look()
    page.goto("/admin/")  # without permission
    console.accept("403")
    look()
