"""Pages of logged-in users

The dashboard of 200 users in turn, with one process. *Stock ASGI* is Django's own handler with
uvicorn, the session engine `db` and no persistent connections, as Django's documentation deploys
it. *Stock WSGI* is the same with gunicorn, and a thread and a persistent connection per client.
Pages and middleware are the site's in all cases. "CPU" is the server's processor time per request,
which other work on the machine affects least. Tests count queries (one) and Redis commands (none).
"""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.load import beside, browse, cpu_seconds, generate
from benchmarks.report import Figures, Table, add_ratio, interleave, percentile, progress
from proof.conftest import module
from proof.postgres import Postgres, find_postgres
from proof.site import PASSWORD, Site

CONNECTIONS, WARM_UP, SECONDS, PEOPLE = (16, 64), 0.5, 3.0, 200
OVERLAY = Path(__file__).parent / "overlay"
ASGI, WSGI = "stock ASGI", "stock WSGI"
# Profile, and the session engine and server of Django's documentation, or the site's own.
SUBJECTS = {
    ASGI: ("database", "db", "asgi"),
    WSGI: ("database", "db", "wsgi"),
    **{name: (name, "", "") for name in module("config.profiles").PROFILES},
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
            with Postgres(connections=400) as server:  # for all sites together
                variables = {"DATABASE_URL": server.url()}
                yield from measure("PostgreSQL", Path(folder) / "pg", variables, rounds)
        else:
            progress("No PostgreSQL here: its tables are left out.\n")


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
        for connections in CONNECTIONS:
            title = f"{database}, {connections} connections"
            turns = {name: partial(each.round, connections) for name, each in subjects.items()}
            measured = interleave(turns, rounds, title)
            for base in (ASGI, WSGI):
                add_ratio(measured, "requests/s", base, f"times {base}")
            yield Table(title, measured)


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
