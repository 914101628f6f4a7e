"""The README's lines, applied to a stock project with the library installed from its wheel."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from outlast.servers import Topology
from websockets.sync.client import connect

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

    def run(self, *arguments: str, code: int = 0) -> str:
        """Run `manage.py`; return what it prints, or fail with it."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=self.folder, env=self.variables, capture_output=True, text=True, timeout=120,
            check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
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


def start_stock(folder: Path) -> tuple[Path, Path]:
    """Make a project with `startproject`; return its settings and its asgi.py."""
    command = [sys.executable, "-m", "django", "startproject", "mysite", str(folder)]
    foreign = {k: v for k, v in os.environ.items() if not k.startswith("DJANGO_")}
    subprocess.run(command, check=True, env=foreign, timeout=60)
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
    text = settings.read_text("utf-8").replace("parent.parent", "parent.parent")
    own = '\nINSTALLED_APPS += ["mysite.users"]\nAUTH_USER_MODEL = "users.User"\n'
    (package / "__init__.py").touch()
    (package / "base.py").write_text(apply("settings.py", text) + own, "utf-8")
    (package / "local.py").write_text("from .base import *\n", "utf-8")
    settings.unlink()
    (users / "__init__.py").touch()
    (users / "models.py").write_text(
        "from django.contrib.auth.models import AbstractUser\n\n"
        "class User(AbstractUser):\n    pass\n",
        "utf-8",
    )
    asgi.write_text(apply("asgi.py", asgi.read_text("utf-8")) + CONSUMER, "utf-8")
    return "config_settings.local"


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
        assert "no issues" in project.run("check")
        project.run("migrate", "--verbosity=0")
        project.variables["DJANGO_SUPERUSER_PASSWORD"] = PASSWORD
        project.run("createsuperuser", "--noinput", "--username=ada", "--email=a@example.com")
        with project.serve():
            use(project, topology)


def use(project: Project, topology: Topology) -> None:
    """Log in, list sessions, cache, hear a message, ask the doctor; kill Redis under load."""
    ada, other = project.log_in(), project.log_in()
    if project.server is RUNSERVER:
        assert ada.get("/static/admin/css/base.css").status_code == 200
    assert sessions(project) == 2
    shell = "from django.core.cache import cache; cache.set('a', {1: 'b'}); print(cache.get('a'))"
    assert "{1: 'b'}" in project.run("shell", "-c", shell)
    doctor = json.loads(project.run("doctor", "--json"))
    assert doctor
    with connect(f"ws://127.0.0.1:{project.port}/news/", proxy=None) as socket_of_ada:
        send = (
            "from asgiref.sync import async_to_sync\n"
            "from channels.layers import get_channel_layer\n"
            "async_to_sync(get_channel_layer().group_send)('everyone', {'type': 'news', 'n': 1})"
        )
        project.run("shell", "-c", send)
        assert json.loads(socket_of_ada.recv(timeout=10))["n"] == 1

        codes: list[int] = []
        over = threading.Event()

        def load() -> None:
            while not over.is_set():
                codes.append(ada.get("/admin/").status_code)

        thread = threading.Thread(target=load)
        thread.start()
        try:
            time.sleep(0.5)
            topology.primary.kill()
            before = len(codes)
            late = project.log_in()
            assert late.get("/admin/").status_code == 200
            time.sleep(1)
        finally:
            over.set()
            thread.join(60)
        assert set(codes) == {200}
        assert len(codes) > before + 5
        socket_of_ada.ping().wait(10)

    token = {"csrfmiddlewaretoken": ada.cookies["csrftoken"]}
    assert ada.post("/admin/logout/", data=token).status_code == 200
    assert ada.get("/admin/").status_code == 302
    assert other.get("/admin/").status_code == 200
    assert sessions(project) == 2  # the other one, and the one that logged in without Redis


def sessions(project: Project) -> int:
    of_ada = "Session.objects.filter(user__username='ada')"
    code = f"from outlast.models import Session; print({of_ada}.count())"
    return int(project.run("shell", "-v0", "-c", code).split()[-1])
