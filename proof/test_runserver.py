"""`manage.py runserver`: pages, static files, WebSockets and the reloader, on one server."""

import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from proof.site import Browser, Site, free_port, wait_for

pytestmark = pytest.mark.slow

PATIENCE = 120  # seconds, for what takes one or two on a quiet machine
EVERYWHERE = "0.0.0.0"  # noqa: S104  # as for a phone in the same network


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "output"


@pytest.fixture
def address(site: Site, output: Path) -> Iterator[str]:
    """The address of a running server, without its scheme."""
    port = free_port()
    variables = {"DJANGO_DEBUG": "1", "SITE_URL": "http://localhost:8000"}
    options = ["--nostatic", "--insecure", f"{EVERYWHERE}:{port}"]
    with output.open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "manage.py", "runserver", *options], cwd=site.folder,
            env=site.environment | variables, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        address = f"127.0.0.1:{port}"
        wait_for(lambda: get(f"http://{address}/healthz") == "ok\n", "the server", PATIENCE)
        yield address
    finally:
        if sys.platform == "win32":  # the reloader's child would go on
            kill = ["taskkill", "/F", "/T", "/PID", str(server.pid)]
            subprocess.run(kill, check=False)
        server.terminate()
        server.wait(10)


def get(url: str) -> str:
    """Return a page, or nothing while no server answers."""
    with suppress(httpx2.TransportError):
        return httpx2.get(url).text
    return ""


def test_pages_static_files_and_sockets(address: str, output: Path) -> None:
    origin, live = Origin(f"http://{address}"), f"ws://{address}/ws/events/"
    with Browser(base_url=origin) as browser:
        page = browser.get("/accounts/login/").text
        for static in [*re.findall(r'"(/static/[^"]+)"', page), "/static/admin/css/base.css"]:
            assert browser.get(static).is_success, static
        with pytest.raises(InvalidStatus), connect(live, origin=origin, proxy=None):
            pass
        assert browser.log_in().status_code == 302
        cookies = {"Cookie": "; ".join(f"{name}={key}" for name, key in browser.cookies.items())}
        with connect(live, origin=origin, additional_headers=cookies, proxy=None) as events:
            assert "heartbeat" in events.recv(PATIENCE)
    said = output.read_text()
    for text in (
        f"http://{EVERYWHERE}:{address.partition(':')[2]}/",
        "To open it at another address, such as from a phone, set SITE_URL=http://ADDRESS:",
        "Services: database ok (",
        '"GET /accounts/login/ HTTP/1.1" 200',
    ):
        assert text in said
    assert "Traceback" not in said
    phone = httpx2.get(origin, headers={"Host": "192.0.2.1:8000"})
    assert phone.status_code == 400 and "Content-Security-Policy" not in phone.headers
    assert "set SITE_URL=http://192.0.2.1:8000 in .env" in phone.text


def test_reloads_changed_code(address: str, site: Site, output: Path) -> None:
    urls = site.folder / "config" / "urls.py"
    assert httpx2.get(f"http://{address}/new/").status_code == 404
    with urls.open("a") as file:
        file.write(
            "\nfrom django.http import HttpResponse\n"
            'urlpatterns += [path("new/", lambda request: HttpResponse("new"))]\n'
        )

    def reloaded() -> bool:
        # A change before the reloader's first look at the files goes unnoticed.
        if time.time() - urls.stat().st_mtime > 10:
            urls.touch()
        return get(f"http://{address}/new/") == "new"

    wait_for(reloaded, "the new page", PATIENCE)


def test_a_port_that_is_taken_is_named_in_a_sentence(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = site.run("runserver", "--noreload", "--skip-checks", address)
    assert done.returncode == 1
    assert "That port is already in use." in done.stderr and "Traceback" not in done.stderr
