"""A generated site, served as in production: strict settings, uvicorn, TLS.

HTTP clients do not send Secure cookies over plain HTTP, so tests without TLS need debug settings,
and test another site than the one in production.
"""

import functools
import os
import re
import secrets
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import trustme
from cookiecutter.main import cookiecutter

TEMPLATE = Path(__file__).parent.parent
EMAIL, PASSWORD = "ada@example.com", "correct horse battery staple"
START_SECONDS = 30
PATIENCE = 180  # seconds for a command of `manage.py`
# In one process, since starting Django takes as long as each of them.
PREPARE = f"""
from django.core.management import call_command
call_command("migrate", verbosity=0)
call_command("collectstatic", interactive=False, verbosity=0)
call_command("createsuperuser", interactive=False, email="{EMAIL}", verbosity=0)
"""


class Site:
    """A site in a folder of its own, its variables, and the server while it runs."""

    def __init__(
        self,
        folder: Path,
        profile: str,
        variables: dict[str, str],
        *,
        overlay: Path | None = None,
        added: dict[str, str] | None = None,
        python: str = sys.executable,
    ) -> None:
        """Generate a site in `folder`, migrate its database and create EMAIL.

        `overlay`: a folder whose contents are copied over the generated site first.
        `added`: texts that are added to the end of files; new files if there are none.
        `python`: the interpreter that runs it.
        """
        self.python = python
        folder.mkdir(parents=True, exist_ok=True)
        answers = {"no_input": True, "extra_context": {"profile": profile, "install": False}}
        self.folder = Path(cookiecutter(str(TEMPLATE), output_dir=str(folder), **answers))
        (self.folder / ".env").unlink(missing_ok=True)  # as in production
        if overlay:
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(overlay, self.folder, ignore=ignore, dirs_exist_ok=True)
        for name, text in (added or {}).items():
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            with (self.folder / name).open("a", encoding="utf-8") as file:
                file.write(text)
        self.authority = trustme.CA()
        self.certificate = self.folder / "var" / "certificate.pem"
        self.certificate.parent.mkdir(mode=0o700, exist_ok=True)
        certificate = self.authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem
        certificate.write_to_path(self.certificate)
        self.port = free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self.variables = {
            "DJANGO_PROFILE": profile,
            "DJANGO_SECRET_KEY": secrets.token_urlsafe(50),
            "DJANGO_SUPERUSER_PASSWORD": PASSWORD,
            "SITE_URL": self.url,
            **variables,
        }
        self.manage("shell", "-c", PREPARE)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the site's processes: the system's, and the site's variables."""
        ours = ("DJANGO_", "REDIS_", "SITE_", "PYTHONDONTWRITEBYTECODE")
        system = {name: text for name, text in os.environ.items() if not name.startswith(ours)}
        # The site's own copy of the library, seen from the site's folder.
        return system | self.variables | {"PYTHONPATH": "vendor/django-outlast/src"}

    def manage(self, *arguments: str) -> str:
        """Run `manage.py` and return what it prints; AssertionError with that when it fails."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run `manage.py`, whatever its exit code."""
        return self.execute(self.python, "manage.py", *arguments)

    def execute(self, *command: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        """Run a command in the site's folder, whatever its exit code."""
        return subprocess.run(
            command, cwd=self.folder, env=self.environment | variables, text=True, check=False,
            stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE,
        )  # fmt: skip

    def create_users(self, *emails: str, name: str = "") -> None:
        """Create users with the password of EMAIL, which is not hashed again: that takes long."""
        script = f"""
from accounts.models import User
password = User.objects.get(email={EMAIL!r}).password
User.objects.bulk_create(
    User(email=email, password=password, name={name!r}) for email in {emails!r}
)
"""
        self.manage("shell", "-c", script)

    def serve_command(self, workers: int, port: int | None = None, patience: int = 1) -> list[str]:
        """Return the command that serves the site: the Dockerfile's, with a certificate.

        `patience`: seconds for requests in flight when it is to stop. By default little,
        since a client that keeps its TLS connection open is waited for.
        """
        return [
            self.python, "-m", "config.serve",
            "--host=127.0.0.1", f"--port={port or self.port}", f"--workers={workers}",
            f"--timeout-graceful-shutdown={patience}",
            f"--ssl-keyfile={self.certificate}", f"--ssl-certfile={self.certificate}",
        ]  # fmt: skip

    @contextmanager
    def running(self, workers: int = 1) -> Iterator["Site"]:
        """Serve the site on its port until the block ends."""
        self.start(workers)
        try:
            yield self
        finally:
            self.stop()

    def start(
        self, workers: int = 1, port: int | None = None, patience: int = 1
    ) -> subprocess.Popen[bytes]:
        """Serve the site on its port, or a second time on another one."""
        with (self.folder / "var" / "server.log").open("a+b") as log:
            server = subprocess.Popen(
                self.serve_command(workers, port, patience),
                cwd=self.folder, env=self.environment | {"WEB_CONCURRENCY": str(workers)},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        if port is None:
            self.process = server
        try:
            self._wait(server, log.name, port or self.port)
        except BaseException:
            self.stop(server)
            raise
        return server

    def stop(self, server: subprocess.Popen[bytes] | None = None) -> None:
        """End a server, by default the site's own, as service managers do."""
        server = server or self.process
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            if shutil.which("pkill"):  # its workers first, who would not notice that it is gone
                subprocess.run(["pkill", "-KILL", "-P", str(server.pid)], check=False, timeout=10)
            server.kill()
            server.wait(10)

    def _wait(self, server: subprocess.Popen[bytes], log: str, port: int) -> None:
        deadline = time.monotonic() + START_SECONDS
        with self.browser() as browser:
            while time.monotonic() < deadline and server.poll() is None:
                try:
                    browser.get(f"https://127.0.0.1:{port}/accounts/login/")
                except httpx2.TransportError:
                    time.sleep(0.05)
                else:
                    return
        raise AssertionError(f"The site did not start:\n{Path(log).read_text()[-4000:]}")

    def browser(self, **options: Any) -> "Browser":
        """Return a client with its own cookies that trusts the site's certificate."""
        return Browser(**self.connection | options)

    @functools.cached_property
    def connection(self) -> dict[str, Any]:
        """Arguments of a client: the site's address, and trust in its certificate."""
        trust = ssl.create_default_context()
        self.authority.configure_trust(trust)
        return {"base_url": self.url, "verify": trust, "timeout": 10, "trust_env": False}


class Browser(httpx2.Client):
    """An HTTP client that fills in forms as a browser does."""

    def submit(self, page: str, form: dict[str, str], to: str | None = None) -> httpx2.Response:
        """Fetch `page`, then post `form` with that page's token to it, or to `to`."""
        return self.post_form(self.get(page), form, to or page)

    def post_form(self, page: httpx2.Response, form: dict[str, str], to: str) -> httpx2.Response:
        """Post `form` to the address `to`, with the token of a page that was fetched."""
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
        assert token, f"{page.url} has no form"
        return self.post(
            to,
            data={"csrfmiddlewaretoken": token[1], **form},
            headers={"Origin": str(self.base_url).rstrip("/")},
        )

    def log_in(self, email: str = EMAIL, password: str = PASSWORD) -> httpx2.Response:
        """Log in; the answer is a redirect where that worked."""
        return self.submit("/accounts/login/", {"username": email, "password": password})

    def log_out(self) -> httpx2.Response:
        """Log out by the button of the dashboard."""
        return self.submit("/dashboard/", {}, to="/accounts/logout/")

    @property
    def logged_in(self) -> bool:
        """Whether the dashboard opens and shows who is logged in."""
        answer = self.get("/dashboard/")
        assert answer.status_code in (200, 302), answer
        return answer.status_code == 200 and EMAIL in answer.text

    @property
    def session_key(self) -> str:
        """The session's key, from the cookie."""
        return self.cookies["__Host-sessionid"]


def free_port() -> int:
    """Return a free port of this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 30) -> None:
    """Return once `condition` holds; AssertionError if that takes too long."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited for {what}, without success"
        time.sleep(0.1)
