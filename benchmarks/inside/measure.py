"""What `benchmarks/sessions.py` asks, inside the site: a line of JSON in, a line out.

["time", variant, page, kB] gives the microseconds that a request takes, ["count", ...] how
often it asks the database and Redis. Django's whole chain of middleware runs around the
page; HTTP does not, which would add the same to all.
"""

import json
import random
import statistics
import string
import sys
import time
from importlib import import_module
from typing import Any, NamedTuple

from accounts.models import User
from django.conf import settings
from django.contrib import auth
from django.core.cache import caches
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import call_command
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory, override_settings
from django.test.utils import CaptureQueriesContext
from django.urls import include, path

SESSIONS = 20
SIZES = (1, 10, 50)


class Variant(NamedTuple):
    """A way to find session and user."""

    engine: str
    users: str = "outlast"  # whose AuthenticationMiddleware
    trusted_seconds: int = 0


VARIANTS = {
    "Django db": Variant("django.contrib.sessions.backends.db", "django.contrib.auth"),
    "Django cached_db": Variant(
        "django.contrib.sessions.backends.cached_db", "django.contrib.auth"
    ),
    "plain row, with the user": Variant("outlast.sessions.db"),
    "copy, confirmed with the user": Variant("outlast.sessions.redis"),
    "copy, confirmed on its own": Variant("benchmarks.inside.two_trips", "django.contrib.auth"),
    "copy, trusted for 30 s": Variant("outlast.sessions.trusting", trusted_seconds=30),
}


def basket(request: HttpRequest) -> HttpResponse:
    """Use the session, and no user."""
    return HttpResponse(len(request.session["payload"]))


def bare(request: HttpRequest) -> HttpResponse:
    """Use the session and the user, and nothing else."""
    return HttpResponse(f"{request.user.pk} {len(request.session['payload'])}")


urlpatterns = [
    path("basket/", basket),
    path("bare/", bare),
    path("", include("config.urls")),  # with /dashboard/
]


class Client:
    """Logged-in sessions of one variant and one size, and the site that knows them."""

    def __init__(self, variant: Variant, kilobytes: int, user: User) -> None:
        self.variant = variant
        with self.selected():
            self.handler = WSGIHandler()
            store = import_module(variant.engine).SessionStore
            self.keys = [_log_in(store(), kilobytes, user) for _ in range(SESSIONS)]

    def selected(self) -> Any:
        """Return the settings of the variant, as a context."""
        django = self.variant.engine.startswith("django.")
        sessions = "django.contrib.sessions" if django else "outlast"
        swap = {
            "outlast.middleware.SessionMiddleware": sessions,
            "outlast.middleware.AuthenticationMiddleware": self.variant.users,
        }
        middleware = [
            f"{swap[name]}.middleware.{name.rpartition('.')[2]}" if name in swap else name
            for name in settings.MIDDLEWARE
        ]
        return override_settings(
            MIDDLEWARE=middleware,
            SESSION_ENGINE=self.variant.engine,
            SESSION_REVALIDATE_SECONDS=self.variant.trusted_seconds,
        )

    def visit(self, page: str, key: str) -> None:
        headers = {"host": settings.ALLOWED_HOSTS[0]}
        environ = RequestFactory().get(page, secure=True, headers=headers).environ
        environ["HTTP_COOKIE"] = f"{settings.SESSION_COOKIE_NAME}={key}"
        response = self.handler(environ, lambda *started: None)
        assert response.status_code == 200, response
        response.close()

    def time(self, page: str) -> float:
        """Return the microseconds of the median visit: others make way for other processes."""
        took = []
        with self.selected():
            for key in self.keys:
                started = time.perf_counter()
                self.visit(page, key)
                took.append(time.perf_counter() - started)
        return statistics.median(took) * 1e6

    def count(self, page: str) -> tuple[int, int]:
        with self.selected():
            self.visit(page, self.keys[0])
            before = _commands()
            with CaptureQueriesContext(connection) as queries:
                self.visit(page, self.keys[0])
            return len(queries), _commands() - before - 1


def _log_in(session: Any, kilobytes: int, user: User) -> str:
    request = HttpRequest()
    request.session = session
    auth.login(request, user, settings.AUTHENTICATION_BACKENDS[-1])
    # As many characters as are stored: base64 gives back what compression takes.
    session["payload"] = "".join(random.choices(string.ascii_letters + "+/", k=kilobytes * 1000))
    session.save()
    return str(session.session_key)


def _commands() -> int:
    return int(caches["default"].client.info("stats")["total_commands_processed"])


def main() -> None:
    """Make sessions of all sizes for all variants, then answer until there is no question."""
    call_command("collectstatic", interactive=False, verbosity=0)
    call_command("migrate", verbosity=0)
    user = User.objects.create_user("ada@example.com", name="Ada")
    clients = {
        (name, size): Client(variant, size, user)
        for size in SIZES
        for name, variant in VARIANTS.items()
    }
    caches["default"].clear()  # among others the marks of sessions that were just saved
    for client in clients.values():
        client.time("/bare/")
    print(json.dumps([list(VARIANTS), SIZES]), flush=True)
    for line in sys.stdin:
        what, name, page, size = json.loads(line)
        print(json.dumps(getattr(clients[name, size], what)(page)), flush=True)
