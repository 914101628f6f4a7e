"""Every page fits a phone and can be read, in light and in dark; pictures of all on request.

nox -s "browser(database)" -- --screenshots=docs/screenshots
pngquant --force --ext=.png docs/screenshots/*.png
"""

import html
import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from proof.browser.conftest import ERRORS, Console, ask_for_link, log_in, press
from proof.site import EMAIL, Site

pytestmark = pytest.mark.any_profile

LARGEST = 80_000  # bytes
WINDOW, PHONE = (ViewportSize(width=960, height=580), ViewportSize(width=320, height=600))
MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Version/26.0 Safari/605.1.15"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) CriOS/141.0 Safari/604.1"
COLOURS = {"31": "#ff8a80", "32": "#8fe3a4", "33": "#f0c25c", "36": "#8fd3ff"}
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


@pytest.fixture
def save(pytestconfig: pytest.Config) -> Callable[[str, bytes], None]:
    """A function that writes a picture to the folder that was asked for, if one was."""
    folder: Path | None = pytestconfig.getoption("--screenshots")

    def save(name: str, picture: bytes) -> None:
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}.png").write_bytes(picture)
            assert len(picture) < LARGEST, f"{name} takes {len(picture)} bytes"

    return save


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page(
    person: str,
    mailbox: Path,
    window: Callable[..., Page],
    console: Console,
    save: Callable[[str, bytes], None],
    scheme: str,
) -> None:
    page = window(color_scheme=scheme, viewport=WINDOW, timezone_id="Europe/Berlin")

    def look(name: str, size: ViewportSize = WINDOW) -> None:
        page.set_viewport_size(PHONE)
        assert page.evaluate(TOO_WIDE) <= 0, name
        assert page.evaluate(FAINT) == [], name
        page.set_viewport_size(size)
        page.mouse.move(0, 0)
        save(f"{name}-{scheme}", page.screenshot(animations="disabled", caret="hide"))

    def visit(pages: dict[str, str]) -> None:
        for name, address in pages.items():
            page.goto(address)
            look(name)

    visit({
        "login": "/accounts/login/",
        "password-reset": "/accounts/password/reset/",
        "password-reset-expired": "/accounts/password/reset/x/y/",
        "sign-up": "/accounts/sign-up/",
        "sign-up-expired": "/accounts/sign-up/x/y/",
    })  # fmt: skip
    page.goto("/accounts/login/")
    press(page, "Log in")
    look("login-errors")
    link = ask_for_link(page, person, mailbox)
    look("password-reset-sent")
    visit({"password-new": link})
    link = ask_for_link(page, f"{scheme}@example.com", mailbox, "/accounts/sign-up/")
    look("sign-up-sent")
    visit({"sign-up-password": link})
    for status, address in ERRORS.items():
        visit({status: address})
        console.accept(status)
    for _ in range(5):
        log_in(page, f"unknown-{scheme}@example.com", "wrong")
    console.accept("429")
    look("wait")
    log_in(window(user_agent=MAC), person)
    log_in(page, person)
    visit({"login-denied": "/admin/"})
    console.accept("403")
    page.goto("/dashboard/")
    expect(page.locator("#services")).to_contain_text("database")
    expect(page.locator("#live-state")).to_have_text("connected")
    log_in(window(user_agent=IPHONE), person)
    expect(page.locator("#events li")).to_contain_text("Chrome on iPhone")
    expect(page.locator("#session-count")).to_have_text("3")
    look("dashboard", {"width": 960, "height": 740})
    look("dashboard-phone", {"width": 390, "height": 844})
    visit({
        "sessions": "/accounts/sessions/",
        "password-change": "/accounts/password/change/",
        "confirm": "/accounts/confirm/",
    })  # fmt: skip
    press(page, "Log out")
    log_in(page, EMAIL)
    page.goto("/admin/accounts/user/")
    page.get_by_role("link", name="Invite", exact=True).click()
    expect(page.get_by_label("Email address")).to_be_visible()
    save(f"invitation-{scheme}", page.screenshot(animations="disabled"))  # a page of Django's


def as_html(output: str) -> str:
    """Return what a terminal shows, colours included, as a page."""
    text = html.escape(output)
    for code, colour in COLOURS.items():
        text = re.sub(rf"\x1b\[{code}(;1)?m", f'<b style="color:{colour}">', text)
    text = text.replace("\x1b[0m", "</b>")
    assert "\x1b" not in text, f"a colour that is not known: {text!r}"
    return f"""<body style="margin:0;background:#14161b"><pre style="display:inline-block;margin:0;
        padding:16px 20px;color:#e8eaef;font:13px/1.5 monospace"
        >$ python manage.py doctor\n{text}</pre></body>"""


def test_the_doctor_without_redis(
    site: Site,
    window: Callable[..., Page],
    save: Callable[[str, bytes], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = str(unused.getsockname()[1])
        monkeypatch.setitem(site.variables, "DJANGO_PROFILE", "redis")
        monkeypatch.setitem(site.variables, "REDIS_URL", f"redis://localhost:{port}/0")
        done = site.run("doctor", "--force-color")
    assert done.returncode == 1
    output = done.stdout.replace(port, "6379").replace(str(site.folder), "/srv/my-site")
    assert "Nothing listens at localhost:6379" in output
    page = window(viewport={"width": 1000, "height": 400})
    page.set_content(as_html(output))
    save("doctor", page.locator("pre").screenshot())
