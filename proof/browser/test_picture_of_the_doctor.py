"""The doctor's output as people see it in a terminal: a picture for the README.

nox -s "browser(database)" -- --screenshots=docs/screenshots
pngquant --force --ext=.png docs/screenshots/*.png
"""

import html
import re
import socket
from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from proof.site import Site

pytestmark = pytest.mark.any_profile

COLOURS = {"31": "#ff8a80", "32": "#8fe3a4", "33": "#f0c25c", "36": "#8fd3ff"}


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


def test_redis_is_not_running(
    site: Site, window: Callable[..., Page], pytestconfig: pytest.Config
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        before = dict(site.variables)
        site.variables |= {
            "DJANGO_PROFILE": "redis",
            "REDIS_URL": f"redis://localhost:{port}/0",
        }
        try:
            done = site.run("doctor", "--force-color")
        finally:
            site.variables = before
    assert done.returncode == 1
    output = done.stdout.replace(str(port), "6379").replace(str(site.folder), "/srv/my-site")
    assert "Nothing listens at localhost:6379" in output
    page = window(viewport={"width": 1000, "height": 400})
    page.set_content(as_html(output))
    picture = page.locator("pre").screenshot()
    if folder := pytestconfig.getoption("--screenshots"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "doctor.png").write_bytes(picture)
