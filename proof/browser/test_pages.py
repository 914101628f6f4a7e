"""Every page fits a phone and is accessible (axe), in light and in dark; pictures on request.

nox -s "browser(database)" -- --screenshots=docs/screenshots
pngquant --force --ext=.png docs/screenshots/*.png
"""

import html
import re
from collections.abc import Callable
from email import message_from_bytes, policy
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, ViewportSize, expect

from proof.browser.conftest import (
    IPHONE,
    NEW,
    Console,
    choose_password,
    expect_page,
    log_in,
    press,
)
from proof.site import EMAIL, PASSWORD, Site, free_port

pytestmark = pytest.mark.any_profile

LARGEST = 80_000  # bytes
WINDOW, PHONE = (ViewportSize(width=960, height=580), ViewportSize(width=320, height=600))
MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Version/26.0 Safari/605.1.15"
COLOURS = {"31": "#ff8a80", "32": "#8fe3a4", "33": "#f0c25c", "36": "#8fd3ff"}
# Where each status is answered.
ERRORS = {"404": "/nowhere/"} | {each: f"/broken/{each}/" for each in ("403", "500", "503")}
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
    site: Site,
    window: Callable[..., Page],
    console: Console,
    save: Callable[[str, bytes], None],
    scheme: str,
) -> None:
    page = window(color_scheme=scheme, viewport=WINDOW, timezone_id="Europe/Berlin")

    def look(name: str, size: ViewportSize = WINDOW) -> None:
        page.set_viewport_size(PHONE)
        assert page.evaluate(TOO_WIDE) <= 0, name
        found = Axe().run(page, options={"resultTypes": ["violations", "incomplete"]}).response
        rules = found["violations"] + found["incomplete"]
        assert not rules, (name, [(rule["id"], rule["nodes"]) for rule in rules])
        page.set_viewport_size(size)
        page.mouse.move(0, 0)
        save(f"{name}-{scheme}", page.screenshot(animations="disabled", caret="hide"))

    def visit(name: str, address: str) -> None:
        page.goto(address)
        look(name)

    def follow_mail(person: str) -> str:
        link = wait_for_link(page, person, site)
        page.goto(link)
        return link

    visit("login", "/accounts/login/")
    press(page, "Log in")
    look("login-errors")
    page.get_by_role("link", name="Forgotten your password?").click()
    look("password-reset")
    page.get_by_label("Email address").fill(person)
    press(page, "Send the link")
    expect_page(page, "Check your mail")
    look("password-reset-sent")
    follow_mail(person)
    look("password-new")
    choose_password(page, "Change password")
    expect(page.get_by_role("status")).to_contain_text("Log in with the new password")
    visit("password-reset-expired", "/accounts/password/reset/x/y/")

    newcomer = f"{scheme}@example.com"
    page.goto("/accounts/login/")
    page.get_by_role("link", name="Create an account").click()
    look("sign-up")
    page.get_by_label("Email address").fill(newcomer)
    press(page, "Send the link")
    expect_page(page, "Check your mail")
    look("sign-up-sent")
    link = follow_mail(newcomer)
    expect(page.get_by_text(newcomer)).to_be_visible()
    look("sign-up-password")
    choose_password(page, "Create the account")
    expect_page(page, f"Hello, {newcomer}")
    press(page, "Log out")
    page.goto(link)
    expect_page(page, "This link no longer works")
    look("sign-up-expired")

    for status, address in ERRORS.items():
        visit(status, address)
        console.accept(status)
    for _ in range(5):
        log_in(page, f"unknown-{scheme}@example.com", "wrong")
    console.accept("429")
    look("wait")
    log_in(window(user_agent=MAC), person, NEW)
    log_in(page, person, NEW)
    expect(page.locator("#services")).to_contain_text("database")
    expect(page.locator("#live-state")).to_have_text("connected")
    log_in(window(user_agent=IPHONE), person, NEW)
    expect(page.locator("#events li")).to_contain_text("Chrome on iPhone")
    expect(page.locator("#session-count")).to_have_text("3")
    look("dashboard", {"width": 960, "height": 740})
    look("dashboard-phone", {"width": 390, "height": 844})
    visit("sessions", "/accounts/sessions/")
    visit("password-change", "/accounts/password/change/")
    visit("confirm", "/accounts/confirm/")

    visit("login-denied", "/admin/accounts/user/")
    console.accept("403")
    expect(page.get_by_role("alert")).to_contain_text(f"You are logged in as {person}")
    page.get_by_label("Email address").fill(EMAIL)
    page.get_by_label("Password").fill(PASSWORD)
    press(page, "Log in")
    expect(page).to_have_url(re.compile("/admin/accounts/user/$"))
    page.get_by_role("link", name="Invite", exact=True).click()
    expect(page.get_by_label("Email address")).to_be_visible()
    save(f"invitation-{scheme}", page.screenshot(animations="disabled"))  # a page of Django's
    guest = f"guest-{scheme}@example.com"
    page.get_by_label("Email address").fill(guest)
    page.get_by_label("Name").fill("Guest")
    press(page, "Save")
    expect(page.get_by_text(f"Invited {guest}.")).to_be_visible()
    page = window()
    follow_mail(guest)
    choose_password(page, "Create the account")
    expect_page(page, "Hello, Guest")


def wait_for_link(page: Page, person: str, site: Site) -> str:
    """Return the link in the mail to `person`, as soon as it has arrived."""
    for _ in range(100):
        for path in site.folder.parent.glob("mail/*"):
            mail = message_from_bytes(path.read_bytes(), policy=policy.default)
            link = re.search(r"https://\S+/(reset|sign-up)/\S+/", str(mail.get_content()))
            if mail["To"] == person and link:
                return link[0]
        page.wait_for_timeout(100)
    raise AssertionError(f"No mail to {person} within ten seconds.")


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
    port = str(free_port())
    monkeypatch.setitem(site.variables, "DJANGO_PROFILE", "redis")
    monkeypatch.setitem(site.variables, "REDIS_URL", f"redis://localhost:{port}/0")
    done = site.run("doctor", "--force-color")
    assert done.returncode == 1
    output = done.stdout.replace(port, "6379").replace(str(site.folder), "/srv/my-site")
    assert "Nothing listens at localhost:6379" in output
    page = window(viewport={"width": 1000, "height": 400})
    page.set_content(as_html(output))
    save("doctor", page.locator("pre").screenshot())
