"""A process that measures inside a site, and answers a line of JSON with another."""

import json
import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from cookiecutter.main import cookiecutter

from benchmarks.distance import far_away
from proof.conftest import module
from proof.postgres import Postgres
from proof.site import TEMPLATE

CODE = "import django; django.setup(); from benchmarks.inside.{} import main; main()"
TIME_LIMIT = 900.0  # seconds for an answer: a million sessions take minutes to store

Ask = Callable[..., Any]


def generate(folder: Path) -> Path:
    """Return a site with the profile `redis`, without the hooks, which write .env."""
    answers = {"profile": "redis", "install": False}
    site = Path(
        cookiecutter(
            str(TEMPLATE),
            no_input=True,
            output_dir=str(folder),
            extra_context=answers,
            accept_hooks=False,
        )
    )
    (site / "var").mkdir()
    return site


@contextmanager
def measuring(
    site: Path, inside: str, *, postgres: bool, milliseconds: float = 0
) -> Iterator[tuple[Ask, Any]]:
    """Yield a function that asks a module of `inside/`, and what that says to begin with.

    The servers are new ones, and so long away. RuntimeError if the process ends.
    """
    with ExitStack() as stack:
        topology = stack.enter_context(module("outlast.servers").Topology())
        redis = stack.enter_context(far_away(topology.primary.port, milliseconds))
        variables = {
            "DJANGO_PROFILE": "redis",
            "DJANGO_SECRET_KEY": secrets.token_urlsafe(50),
            "DJANGO_SETTINGS_MODULE": "benchmarks.inside.settings",
            "PYTHONPATH": os.pathsep.join([str(TEMPLATE), str(site)]),
            "REDIS_URL": f"redis://127.0.0.1:{redis}/0",
            "SITE_URL": "https://127.0.0.1",
        }
        if postgres:
            server = stack.enter_context(Postgres())
            port = stack.enter_context(far_away(server.port, milliseconds))
            variables["DATABASE_URL"] = server.url(port)
        log = stack.enter_context((site / "var" / "measure.log").open("w+"))
        process = subprocess.Popen(
            [sys.executable, "-c", CODE.format(inside)],
            cwd=site, env=os.environ | variables, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
        )  # fmt: skip
        stack.enter_context(process)
        stack.callback(process.kill)
        questions, lines = process.stdin, process.stdout
        assert questions and lines

        def answer() -> Any:
            watchdog = threading.Timer(TIME_LIMIT, process.kill)
            watchdog.start()
            try:
                line = lines.readline()
            finally:
                watchdog.cancel()
            if line:
                return json.loads(line)
            log.seek(0)
            raise RuntimeError(f"The measuring process has ended:\n{log.read()[-4000:]}")

        def ask(*question: Any) -> Any:
            print(json.dumps(question), file=questions, flush=True)
            return answer()

        yield ask, answer()
