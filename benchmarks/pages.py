"""Pages of people who are logged in

The dashboard of 200 people in turn, one process. *Stock ASGI* is Django's own handler under
uvicorn with the session engine `db` and no kept connections, as its documentation deploys it.
*Stock WSGI* is the same under gunicorn with a kept thread and connection per client. Page and
middleware are the site's in all of them. "CPU" is processor time of the server per request, which
other work on the machine disturbs least. "While others are slow" is asked for 40 pages a second.
"""

import socket
import ssl
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.load import beside, browse, cpu_seconds, generate, kilobytes
from benchmarks.report import Figures, Table, add_ratio, interleave, percentile, progress
from proof.conftest import module
from proof.postgres import Postgres, find_postgres
from proof.site import PASSWORD, Site

CONNECTIONS, WARM_UP, SECONDS, PEOPLE, COUNTED = (16, 64), 0.5, 3.0, 200, 50
OVERLAY = Path(__file__).parent / "overlay"
HOST = "127.0.0.1"
ASGI, WSGI = "stock ASGI", "stock WSGI"
# Profile, and the session engine and server of Django's documentation, or the site's own.
SUBJECTS = {
    ASGI: ("database", "db", "asgi"),
    WSGI: ("database", "db", "wsgi"),
    "database": ("database", "", ""),
    "file": ("file", "", ""),
    "dummy": ("dummy", "", ""),
    "redis": ("redis", "", ""),
    "redis-sentinel": ("redis-sentinel", "", ""),
}
LOG_IN = f"""
from importlib import import_module
from django.conf import settings
from django.contrib import auth
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import make_password
store = import_module(settings.SESSION_ENGINE).SessionStore
password = make_password("{PASSWORD}")
for number in range({PEOPLE}):
    user, _ = get_user_model().objects.get_or_create(
        email=f"{{number}}@example.com", defaults={{"password": password}})
    session = store()
    session[auth.SESSION_KEY] = str(user.pk)
    session[auth.BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    session[auth.HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    print("cookie", f"{{settings.SESSION_COOKIE_NAME}}={{session.session_key}};"
          f" {{settings.CSRF_COOKIE_NAME}}={{'a' * 32}}", sep=":")
"""


def run(rounds: int) -> Iterator[Table]:
    """Yield tables on SQLite, and on PostgreSQL where there is a server."""
    with tempfile.TemporaryDirectory(prefix="pages ") as folder:
        yield from measure("SQLite", Path(folder) / "sqlite", {}, rounds)
        if find_postgres():
            with Postgres() as server:
                variables = {"DATABASE_URL": server.url()}
                yield from measure("PostgreSQL", Path(folder) / "pg", variables, rounds)
        else:
            progress("No PostgreSQL here: its tables are left out.\n")
        yield while_others(Path(folder) / "others", rounds)


def measure(
    database: str, folder: Path, variables: dict[str, str], rounds: int
) -> Iterator[Table]:
    """Yield a table for each number of connections."""
    progress(f"pages on {database}: starting the sites")
    with ExitStack() as stack:
        servers = {
            name: stack.enter_context(module("outlast.servers").Topology(**sizes))
            for name, sizes in module("config.profiles").SERVERS.items()
        }
        generated = generate(folder, "database", variables, overlay=OVERLAY)
        beside(generated, settings("db")).manage("migrate", "--verbosity=0")
        subjects = {
            name: Subject(generated, *subject, servers.get(subject[0]), stack)
            for name, subject in SUBJECTS.items()
        }
        counted = {name: subject.counts() for name, subject in subjects.items()}
        for connections in CONNECTIONS:
            title = f"{database}, {connections} connections"
            turns = {name: partial(each.round, connections) for name, each in subjects.items()}
            measured = interleave(turns, rounds, title)
            for base in (ASGI, WSGI):
                add_ratio(measured, "requests/s", base, f"times {base}")
            for name, runs in measured.items():
                for figures in runs:
                    figures |= counted[name]
            yield Table(title, measured)


def while_others(folder: Path, rounds: int) -> Table:
    """Return how long pages take, asked for 40 times a second, while others are slow."""
    progress("pages while others are slow: starting the site")
    with ExitStack() as stack:
        generated = generate(folder, "database", {}, overlay=OVERLAY)
        (generated.folder / "var" / "static" / "big.bin").write_bytes(bytes(30_000_000))
        subject = Subject(generated, "database", "", "", None, stack)
        logins = [login(subject.site, number) for number in range(100)]
        download = f"GET /static/big.bin HTTP/1.1\r\nHost: 127.0.0.1:{subject.site.port}\r\n\r\n"
        upload = logins[0].replace(b"Content-Length: ", b"Content-Length: 9000")
        crowds = {
            "alone": [],
            "40 slow uploads, 40 slow downloads": 40 * [upload] + 40 * [download.encode()],
            "100 logins at once": logins,
        }
        measured = interleave(
            {name: partial(subject.paced, crowd) for name, crowd in crowds.items()},
            rounds,
            "pages while others are slow",
        )
        add_ratio(measured, "p99 ms", "alone", "times p99 alone")
    return Table("while others are slow", measured)


def login(site: Site, number: int) -> bytes:
    token = "a" * 32
    body = f"csrfmiddlewaretoken={token}&username={number}%40example.com&password={PASSWORD}"
    return (
        f"POST /accounts/login/ HTTP/1.1\r\nHost: 127.0.0.1:{site.port}\r\nOrigin: {site.url}\r\n"
        f"Cookie: __Host-csrftoken={token}\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body.replace(' ', '+')}"
    ).encode()


def settings(stock: str, **more: str) -> dict[str, str]:
    return {"DJANGO_SETTINGS_MODULE": "measured.settings", "STOCK": stock, **more}


class Subject:
    """A running site on a profile, or Django's stock parts in its place."""

    def __init__(
        self,
        generated: Site,
        profile: str,
        engine: str,
        server: str,
        topology: Any,
        stack: ExitStack,
    ) -> None:
        self.topology = topology
        redis = topology.environment() if topology else {}
        self.site = beside(
            generated, settings(engine, KEEP=server, DJANGO_PROFILE=profile, **redis)
        )
        if server:
            command = getattr(self, server)
            self.site.serve_command = lambda *_: command(self.site)  # type: ignore[method-assign]
        said = self.site.manage("shell", "-v0", "-c", LOG_IN).splitlines()
        self.cookies = [line.partition(":")[2] for line in said if line.startswith("cookie:")]
        stack.enter_context(self.site.running())

    @staticmethod
    def asgi(site: Site) -> list[str]:
        return [
            sys.executable, "-m", "uvicorn", "measured.asgi:application", "--no-access-log",
            f"--port={site.port}", f"--ssl-keyfile={site.certificate}",
            f"--ssl-certfile={site.certificate}", "--timeout-graceful-shutdown=1",
        ]  # fmt: skip

    @staticmethod
    def wsgi(site: Site) -> list[str]:
        return [
            sys.executable, "-m", "gunicorn", "config.wsgi", "--threads=80", "--keep-alive=1",
            f"--bind=127.0.0.1:{site.port}", f"--keyfile={site.certificate}",
            f"--certfile={site.certificate}", "--graceful-timeout=1", "--timeout=300",
        ]  # fmt: skip

    def round(self, connections: int) -> Figures:
        ask = partial(browse, self.site, self.cookies, connections, path="/dashboard/")
        ask(WARM_UP)
        before = cpu_seconds(self.site.process.pid)
        took, per_second = ask(SECONDS)
        cpu = cpu_seconds(self.site.process.pid) - before
        return {
            "requests/s": per_second,
            "p50 ms": percentile(took, 0.5) * 1000,
            "p99 ms": percentile(took, 0.99) * 1000,
            "CPU ms": cpu / len(took) * 1000,
        }

    def paced(self, crowd: list[bytes]) -> Figures:
        """Return the figures of pages while a crowd has sent its requests and reads nothing."""
        trust = ssl.create_default_context()
        self.site.authority.configure_trust(trust)
        with ExitStack() as stack:
            others = []
            for _ in crowd:
                plain = socket.create_connection(("127.0.0.1", self.site.port))
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                others.append(stack.enter_context(trust.wrap_socket(plain, server_hostname=HOST)))
            for other, request in zip(others, crowd, strict=True):
                other.sendall(request)
            logins = bool(crowd) and b"username" in crowd[-1]
            if not logins:
                time.sleep(1)  # until the buffers of the slow clients are full
            began = time.perf_counter()
            took, _ = browse(self.site, self.cookies, 4, SECONDS, "/dashboard/", pause=0.1)
            figures = {
                "p50 ms": percentile(took, 0.5) * 1000,
                "p99 ms": percentile(took, 0.99) * 1000,
                "memory MB": kilobytes(self.site.process.pid, "VmHWM") / 1000,
            }
            if logins:
                for other in others:
                    assert other.recv(100).split()[1] == b"302", "a login failed"
                figures["logins, s"] = time.perf_counter() - began
        return figures

    def counts(self) -> Figures:
        """Return what one request asks of the database and of Redis."""
        counting = beside(self.site, {"COUNT_QUERIES": "1"})
        vars(counting).pop("serve_command", None)  # the site's own server, which counts the same
        with counting.running(), counting.browser() as browser:
            headers = {"Cookie": self.cookies[0]}
            browser.get("/dashboard/", headers=headers)
            if not self.topology:
                answer = browser.get("/dashboard/", headers=headers)
                return {"queries": float(answer.headers["X-Queries"])}
            with self.topology.primary.client() as client:
                client.config_resetstat()
                for _ in range(COUNTED):
                    answer = browser.get("/dashboard/", headers=headers)
                commands = client.info("commandstats")
        asked = sum(
            of["calls"] for name, of in commands.items() if name.partition("_")[2] in OF_PAGES
        )
        return {
            "queries": float(answer.headers["X-Queries"]),
            "Redis commands": round(asked / COUNTED, 1),
        }


OF_PAGES = {"get", "set", "mget", "del", "getex", "expire", "eval", "evalsha", "exists", "ttl"}
