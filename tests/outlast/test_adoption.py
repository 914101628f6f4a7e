"""The README's lines, applied to a stock project with the library installed from its wheel."""

import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx2
import pytest
from django.core.management import call_command
from websockets.sync.client import connect

from tests.servers import Topology

LIBRARY = Path(__file__).parents[2] / "{{cookiecutter.project_slug}}" / "vendor" / "django-outlast"
README = (LIBRARY / "README.md").read_text("utf-8")
LOGIN, PASSWORD = "/admin/login/", "pw"
UVICORN = ["-m", "uvicorn", "mysite.asgi:application", "--log-level=error", "--port"]
RUNSERVER = ["manage.py", "runserver", "--noreload"]
CONSUMER = """
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import path


class Consumer(AsyncJsonWebsocketConsumer):
    groups = ["everyone"]

    async def news(self, event):
        await self.send_json(event)


application = ProtocolTypeRouter(
    {"http": application, "websocket": URLRouter([path("news/", Consumer.as_asgi())])}
)
"""


def apply(name: str, text: str) -> str:
    """Return the text with the README's diff for the file applied; fail if it does not fit."""
    found = re.search(rf"```diff {re.escape(name)}\n(.*?)```", README, re.S)
    assert found, f"The README has no diff of {name}."
    lines, at = text.splitlines(), 0
    for line in found[1].splitlines():
        sign, wanted = line[:1], line[1:]
        if sign == "+":
            lines.insert(at, wanted)
        else:
            assert wanted in lines[at:], f"{name} has no line {wanted!r} after line {at}."
            at = lines.index(wanted, at)
            if sign == "-":
                del lines[at]
                continue
        at += 1
    return "\n".join([*lines, ""])


class Project:
    """A project in a folder of its own, and how its commands and its server run."""

    def __init__(self, folder: Path, packages: Path, settings: str, server: list[str]) -> None:
        self.folder, self.server = folder, server
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.clients: list[httpx2.Client] = []
        foreign = ("DJANGO_", "PYTHONPATH")
        self.variables = {k: v for k, v in os.environ.items() if not k.startswith(foreign)} | {
            "PYTHONPATH": str(packages),
            "DJANGO_SETTINGS_MODULE": settings,
        }

    def run(self, *arguments: str) -> str:
        """Run `manage.py`; return what it prints, or fail with it."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=self.folder, env=self.variables, capture_output=True, text=True, timeout=120,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @contextmanager
    def serve(self) -> Iterator[None]:
        command = [sys.executable, *self.server, str(self.port)]
        server = subprocess.Popen(command, cwd=self.folder, env=self.variables)
        try:
            for _ in range(300):
                try:
                    httpx2.get(self.url + LOGIN, trust_env=False)
                except httpx2.TransportError:
                    assert server.poll() is None, "The server did not start."
                    time.sleep(0.1)
                else:
                    break
            yield
        finally:
            for client in self.clients:
                client.close()
            server.terminate()
            server.wait(20)

    def log_in(self) -> httpx2.Client:
        """Return a client that has logged in by the admin's page."""
        client = httpx2.Client(base_url=self.url, trust_env=False, timeout=30)
        self.clients.append(client)
        client.get(LOGIN)
        form = {"username": "ada", "password": PASSWORD, "next": "/admin/"}
        token = {"csrfmiddlewaretoken": client.cookies["csrftoken"]}
        answer = client.post(LOGIN, data=form | token)
        assert answer.status_code == 302, answer.text[:500]
        return client

    def sessions(self) -> int:
        """Return the number of sessions of people who are logged in."""
        with closing(sqlite3.connect(self.folder / "db.sqlite3")) as database:
            query = "SELECT count(*) FROM django_session WHERE user_id IS NOT NULL"
            return int(database.execute(query).fetchone()[0])


def start_stock(folder: Path) -> tuple[Path, Path]:
    """Make a project with `startproject`; return its settings and its asgi.py."""
    call_command("startproject", "mysite", str(folder))
    return folder / "mysite" / "settings.py", folder / "mysite" / "asgi.py"


def stock(folder: Path) -> str:
    """Apply the README to a project of `startproject`; return the name of its settings."""
    settings, asgi = start_stock(folder)
    settings.write_text(apply("settings.py", settings.read_text("utf-8")), "utf-8")
    asgi.write_text(apply("asgi.py", asgi.read_text("utf-8")) + CONSUMER, "utf-8")
    return "mysite.settings"


def split(folder: Path) -> str:
    """The common larger layout: split settings, apps in a package, a user model of its own."""
    settings, asgi = start_stock(folder)
    package, users = folder / "config_settings", folder / "mysite" / "users"
    package.mkdir()
    users.mkdir()
    text = settings.read_text("utf-8")
    own = '\nINSTALLED_APPS += ["mysite.users"]\nAUTH_USER_MODEL = "users.User"\n'
    (package / "__init__.py").touch()
    (package / "base.py").write_text(apply("settings.py", text) + own, "utf-8")
    (package / "local.py").write_text("from .base import *\n", "utf-8")
    settings.unlink()
    (users / "__init__.py").touch()
    models = "from django.contrib.auth.models import AbstractUser\n\nclass User(AbstractUser): ..."
    (users / "models.py").write_text(models, "utf-8")
    asgi.write_text(apply("asgi.py", asgi.read_text("utf-8")) + CONSUMER, "utf-8")
    return "config_settings.local"


SET_UP = f"""
from django.contrib.auth import get_user_model
from django.core.management import call_command
call_command("check")
call_command("migrate", verbosity=0)
get_user_model().objects.create_superuser("ada", "a@example.com", {PASSWORD!r})
"""
USE = """
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.core.cache import cache
from django.core.management import call_command
cache.set("a", {1: "b"})
print(cache.get("a"))
call_command("doctor", "--json")
async_to_sync(get_channel_layer().group_send)("everyone", {"type": "news", "n": 1})
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layout", "server"),
    [(stock, RUNSERVER), (split, UVICORN)],
    ids=["startproject, runserver", "split settings, uvicorn"],
)
def test_a_project_adopts_the_library(
    layout: Callable[[Path], str], server: list[str], tmp_path: Path, packages: Path
) -> None:
    with Topology() as topology:
        project = Project(tmp_path, packages, layout(tmp_path), server)
        for path in tmp_path.rglob("*.py"):  # where this test's Redis listens
            address = topology.environment()["REDIS_URL"]
            text = path.read_text("utf-8")
            path.write_text(text.replace("redis://127.0.0.1:6379/0", address), "utf-8")
        if layout is split:
            project.run("makemigrations", "users")
        assert "no issues" in project.run("shell", "-v0", "-c", SET_UP)
        with project.serve():
            use(project, topology)


def use(project: Project, topology: Topology) -> None:
    """Log in, list sessions, cache, hear a message, ask the doctor; kill Redis under load."""
    ada, other = project.log_in(), project.log_in()
    if project.server is RUNSERVER:
        assert ada.get("/static/admin/css/base.css").status_code == 200
    assert project.sessions() == 2
    with connect(f"ws://127.0.0.1:{project.port}/news/", proxy=None) as socket_of_ada:
        cached, *doctor = project.run("shell", "-v0", "-c", USE).splitlines()
        assert cached == "{1: 'b'}"
        assert json.loads("\n".join(doctor))
        assert json.loads(socket_of_ada.recv(timeout=10))["n"] == 1

        codes: list[int] = []
        over = threading.Event()

        def load() -> None:
            while not over.is_set():
                codes.append(ada.get("/admin/").status_code)

        thread = threading.Thread(target=load)
        thread.start()
        try:
            wait_for(lambda: len(codes) > 2)
            topology.primary.kill()
            before = len(codes)
            late = project.log_in()
            assert late.get("/admin/").status_code == 200
            wait_for(lambda: len(codes) > before + 5)
        finally:
            over.set()
            thread.join(60)
        assert set(codes) == {200}
        socket_of_ada.ping().wait(10)

    token = {"csrfmiddlewaretoken": ada.cookies["csrftoken"]}
    assert ada.post("/admin/logout/", data=token).status_code == 200
    assert ada.get("/admin/").status_code == 302
    assert other.get("/admin/").status_code == 200
    assert project.sessions() == 2  # the other one, and the one that logged in without Redis


def wait_for(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.05)
