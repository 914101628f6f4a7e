"""The panel of live states: there after the page, and never in its way."""

import re
import time
from typing import Any

from playwright.sync_api import Page, expect

from proof.browser.conftest import log_in


def test_services_are_up(page: Page, person: str, profile: str) -> None:
    log_in(page, person)
    panel = page.locator("#services")
    expect(panel).to_contain_text("database")
    expect(panel).to_have_text(re.compile(r"up, [\d.]+ ms"))
    assert ("redis" in panel.inner_text()) is profile.startswith("redis")
    expect(panel.locator(".state-down")).to_have_count(0)


def test_a_hung_service_does_not_delay_the_page(page: Page, person: str, topology: Any) -> None:
    log_in(page, person)
    if not topology:
        expect(page.locator("#services")).not_to_contain_text("redis")
        return
    for sentinel in topology.sentinels:
        sentinel.pause()  # or they would name another primary
    hung = topology.primary
    hung.pause()
    try:
        page.goto("/dashboard/")  # notices it, and is told to wait no longer from now on
        started = time.monotonic()
        page.goto("/dashboard/", wait_until="domcontentloaded")
        assert time.monotonic() - started < 5, "the page waits for Redis"
        row = page.locator("#services dt", has_text="redis").locator("+ dd")
        # A question of the second before was answered "up"; the panel asks again after 15 s.
        expect(row).to_contain_text("down", timeout=30_000)
    finally:
        hung.resume()
        for sentinel in topology.sentinels:
            sentinel.resume()
