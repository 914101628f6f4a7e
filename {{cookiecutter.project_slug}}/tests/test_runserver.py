"""`manage.py runserver`: pages, static files, WebSockets and the reloader, on one server."""

import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
from django.conf import settings
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

pytestmark = pytest.mark.any_profile

SITE = Path(__file__).parents[1]
PATIENCE = 120  # seconds, for what takes one or two on a quiet machine
PASSWORD = "correct horse battery staple"


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {
        "DJANGO_DEBUG": "1",
        "DJANGO_SECRET_KEY": secrets.token_urlsafe(50),
        "DJANGO_PROFILE": settings.PROFILE,
        "DATABASE_URL": f"sqlite:///{tmp_path_factory.mktemp('runserver') / 'db.sqlite3'}",
        "DJANGO_SUPERUSER_PASSWORD": PASSWORD,
        "SITE_URL": "http://localhost:8000",
    }


@pytest.fixture(scope="module")
def site(variables: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the site, with a database and a user."""
    site = tmp_path_factory.mktemp("copy") / "my site"
    ignored = shutil.ignore_patterns("var", ".venv", ".env", "__pycache__", ".*_cache", "tests")
    shutil.copytree(SITE, site, ignore=ignored)
    for arguments in (
        ("migrate", "--verbosity=0"),
        ("createsuperuser", "--noinput", "--email=ada@example.com", "--verbosity=0"),
    ):
        subprocess.run(command(*arguments), cwd=site, env=os.environ | variables, check=True)
    return site


def command(*arguments: str) -> list[str]:
    return [sys.executable, "manage.py", *arguments]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


EVERYWHERE = "0.0.0.0"  # noqa: S104  # as for a phone in the same network


@pytest.fixture
def address(site: Path, variables: dict[str, str], tmp_path: Path) -> Iterator[str]:
    """The address of a running site, without its scheme."""
    port = free_port()
    address = f"127.0.0.1:{port}"
    output = tmp_path / "output"
    with output.open("wb") as log:
        server = subprocess.Popen(
            command("runserver", "--nostatic", "--insecure", f"{EVERYWHERE}:{port}"),
            cwd=site,
            env=os.environ | variables,
            stdout=log,
            stderr=log,
        )
    try:
        wait(lambda: httpx2.get(f"http://{address}/healthz").is_success, output)
        yield address
    finally:
        if os.name == "nt":  # the reloader's child would go on
            kill = ["taskkill", "/F", "/T", "/PID", str(server.pid)]
            subprocess.run(kill, check=False)
        server.terminate()
        server.wait(10)


def wait(what: Callable[[], bool], output: Path) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            if what():
                return
        except httpx2.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(output.read_text())


def test_serves_pages_static_files_and_sockets(address: str, tmp_path: Path) -> None:
    origin = f"http://{address}"
    with httpx2.Client(base_url=origin) as browser:
        page = browser.get("/accounts/login/").text
        for static in re.findall(r'"(/static/[^"]+)"', page):
            assert browser.get(static).is_success, static
        assert browser.get("/static/admin/css/base.css").is_success
        with pytest.raises(InvalidStatus), connect(f"ws://{address}/ws/events/", origin=origin):
            pass
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
        assert token
        form = {"username": "ada@example.com", "password": PASSWORD}
        answer = browser.post("/accounts/login/", data={"csrfmiddlewaretoken": token[1], **form})
        assert answer.status_code == 302
        cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
        with connect(
            f"ws://{address}/ws/events/",
            origin=origin,
            additional_headers={"Cookie": cookies},
            proxy=None,
        ) as live:
            assert "heartbeat" in live.recv(PATIENCE)
    output = (tmp_path / "output").read_text()
    assert f"http://{EVERYWHERE}:{address.partition(':')[2]}/" in output
    assert "Services: database ok (" in output
    assert '"GET /accounts/login/ HTTP/1.1" 200' in output
    assert "Traceback" not in output


def test_a_phone_is_told_which_variable_to_set(address: str, tmp_path: Path) -> None:
    page = httpx2.get(f"http://{address}/", headers={"Host": "192.0.2.1:8000"})
    assert page.status_code == 400
    assert "set SITE_URL=http://192.0.2.1:8000 in .env" in page.text
    assert "Content-Security-Policy" not in page.headers, "the debug page has inline styles"
    output = (tmp_path / "output").read_text()
    assert "To open them at another address, as from a phone, set it in .env: SITE_URL=" in output


@pytest.mark.slow
def test_reloads_changed_code(address: str, site: Path, tmp_path: Path) -> None:
    urls = site / "config" / "urls.py"
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
        return httpx2.get(f"http://{address}/new/").text == "new"

    wait(reloaded, tmp_path / "output")


def test_a_port_that_is_taken_is_said_in_a_sentence(site: Path, variables: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            command("runserver", "--noreload", "--skip-checks", f"127.0.0.1:{port}"),
            cwd=site,
            env=os.environ | variables,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    assert done.returncode == 1
    assert "That port is already in use." in done.stderr
    assert "Traceback" not in done.stderr
