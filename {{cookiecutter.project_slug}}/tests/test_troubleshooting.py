"""Errors of the site itself that docs/troubleshooting.md lists, each provoked."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from tests.troubleshooting import is_listed, listed, not_provoked

pytestmark = pytest.mark.slow

SITE = Path(__file__).parent.parent


def manage(*arguments: str, before: str = "", **variables: str) -> str:
    """Run manage.py in a fresh production-like environment; return the end of what it says."""
    environment = {
        name: text
        for name, text in os.environ.items()
        if not name.startswith(("DJANGO_", "REDIS_", "DATABASE_"))
    }
    environment |= {
        "DJANGO_DEBUG": "0",
        "DJANGO_SECRET_KEY": "x" * 50,
        "SITE_URL": "https://www.example.com",
        "DJANGO_PROFILE": "database",
        **variables,
    }
    code = f"import sys; sys.argv = {['manage.py', *arguments]!r}; {before}\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}import manage; manage.main()"],
        cwd=SITE, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    return done.stderr.strip()


def test_every_error_that_is_listed_is_provoked_here() -> None:
    assert len(listed("The site")) >= 5
    sources = [Path(__file__), Path(__file__).with_name("test_static.py")]
    source = "".join(path.read_text("utf-8") for path in sources)
    assert not not_provoked("The site", source)


def expect(error: str, heading: str) -> None:
    assert is_listed(error, "The site", heading), error


def test_no_profile() -> None:
    expect(manage("check", DJANGO_PROFILE=""), "DJANGO_PROFILE is '', but must be one of")


def test_no_sentinels() -> None:
    error = manage("check", DJANGO_PROFILE="redis-sentinel", REDIS_SENTINELS="")
    expect(error, "REDIS_SENTINELS is empty")


def test_another_host(settings: Any, caplog: Any) -> None:
    settings.SECURE_SSL_REDIRECT = False
    settings.ALLOWED_HOSTS = ["www.example.com"]
    assert Client().get("/", headers={"host": "localhost:8000"}).status_code == 400
    expect(caplog.text, "Invalid HTTP_HOST header")
