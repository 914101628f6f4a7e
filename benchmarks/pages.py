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

from benchmarks.load import OVERLAY, browse, cpu_seconds, second_server
from benchmarks.report import Figures, Table, add_ratio, interleave, percentile, progress
from proof.conftest import module
from proof.postgres import Postgres, find_postgres
from proof.site import PASSWORD, Site

CONNECTIONS, WARM_UP, SECONDS, PEOPLE = (16, 64), 0.5, 3.0, 200
ASGI, WSGI = "stock ASGI", "stock WSGI"
# The servers of Django's documentation.
COMMANDS = {
    ASGI: "uvicorn measured.asgi:application --no-access-log --port={port} "
    "--ssl-keyfile={certificate} --ssl-certfile={certificate} --timeout-graceful-shutdown=1",
    WSGI: "gunicorn config.wsgi --threads=80 --keep-alive=1 --bind=127.0.0.1:{port} "
    "--keyfile={certificate} --certfile={certificate} --graceful-timeout=1 --timeout=300",
}
LOG_IN = f"""
from accounts.models import User
from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.test import Client
password = make_password("{PASSWORD}")
for number in range({PEOPLE}):
    client, email = Client(), f"{{number}}@example.com"
    user, _ = User.objects.get_or_create(email=email, defaults={{"password": password}})
    client.force_login(user)
    print(f"cookie:{{settings.SESSION_COOKIE_NAME}}={{client.session.session_key}};"
          f" {{settings.CSRF_COOKIE_NAME}}={{'a' * 32}}")
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
            progress("No PostgreSQL here: its tables are left out.")


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
        generated = Site(folder, "database", variables, overlay=OVERLAY)
        stock = {"STOCK": "db", "DJANGO_SETTINGS_MODULE": "measured.settings"}
        second_server(generated, stock).manage("migrate", "--verbosity=0")
        subjects = {ASGI: Subject(generated, stack, stock, ASGI)}
        subjects[WSGI] = Subject(generated, stack, stock | {"KEEP": "1"}, WSGI)
        for name in module("config.profiles").PROFILES:
            redis = servers[name].environment() if name in servers else {}
            subjects[name] = Subject(generated, stack, redis | {"DJANGO_PROFILE": name})
        for connections in CONNECTIONS:
            title = f"{database}, {connections} connections"
            turns = {name: partial(each.round, connections) for name, each in subjects.items()}
            measured = interleave(turns, rounds, title)
            for base in (ASGI, WSGI):
                add_ratio(measured, "requests/s", base, f"times {base}")
            yield Table(title, measured)


class Subject:
    """A running site, by its own command or one of COMMANDS, and the cookies of its users."""

    def __init__(
        self, generated: Site, stack: ExitStack, variables: dict[str, str], command: str = ""
    ) -> None:
        self.site = site = second_server(generated, variables)
        if command:
            parts = [part.format(**vars(site)) for part in COMMANDS[command].split()]
            serve = [sys.executable, "-m", *parts]
            site.serve_command = lambda *_: serve  # type: ignore[method-assign]
        said = site.manage("shell", "-v0", "-c", LOG_IN).splitlines()
        self.cookies = [line.partition(":")[2] for line in said if line.startswith("cookie:")]
        stack.enter_context(site.running())

    def round(self, connections: int) -> Figures:
        ask = partial(browse, self.site, self.cookies, connections)
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
