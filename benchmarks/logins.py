"""How many people can log in, by how their passwords are hashed, and what memory that takes."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from urllib.parse import urlencode

from benchmarks.load import beside, generate, kilobytes, send
from benchmarks.report import Figures, Options, Table, interleave, percentile, progress, rows_of
from proof.conftest import module
from proof.site import EMAIL, PASSWORD, Site

CLIENTS, SECONDS = 16, 3.0
OVERLAY = Path(__file__).parent / "overlay"
# How the password of the one who logs in is hashed; "" is the site's own way.
HASHERS = {
    "Argon2id, 64 MiB": "",
    "a fast hash": "django.contrib.auth.hashers.MD5PasswordHasher",
    "Django's Argon2id, 100 MiB": "django.contrib.auth.hashers.Argon2PasswordHasher",
}
PROFILES = {"database": [*HASHERS], "redis": [*HASHERS][:2]}  # memory is the hasher's affair


def run(options: Options) -> Iterator[Table]:
    """Yield a table: one process serves, on SQLite, and is a new one each round."""
    title = f"logins: {CLIENTS} clients at once, one process, SQLite"
    progress("logins: generating the sites")
    servers = module("config.profiles").SERVERS
    with tempfile.TemporaryDirectory(prefix="logins ") as folder, ExitStack() as stack:
        subjects = {}
        for profile, names in PROFILES.items():
            variables = {"DJANGO_SETTINGS_MODULE": "measured.settings"}
            if profile in servers:
                topology = module("outlast.servers").Topology(**servers[profile])
                variables |= stack.enter_context(topology).environment()
            generated = generate(Path(folder) / profile, profile, variables, overlay=OVERLAY)
            for number, name in enumerate(names):
                site, email = beside(generated, {"HASHER": HASHERS[name]}), f"{number}-{EMAIL}"
                site.manage("createsuperuser", "--noinput", f"--email={email}", "--verbosity=0")
                subjects[f"{profile}, {name}"] = partial(measure, site, email)
        yield Table(title, rows_of(interleave(subjects, options.rounds, title)))


def measure(site: Site, email: str) -> Figures:
    """Return the figures of one round."""
    with site.running():
        ask = login_request(site, email)
        send(site, ask, 1, 0.5, 302)  # warm up
        before = kilobytes(site.process.pid)
        took, per_second = send(site, ask, CLIENTS, SECONDS, 302)
        peak = kilobytes(site.process.pid, "VmHWM")
    return {
        "logins/s": per_second,
        "p50 ms": percentile(took, 0.5) * 1000,
        "p99 ms": percentile(took, 0.99) * 1000,
        "MB before": before / 1000,
        "MB at peak": peak / 1000,
    }


def login_request(site: Site, email: str) -> bytes:
    """Return what a browser sends that logs in: with a cookie and a token against forgery."""
    with site.browser() as browser:
        page = browser.get("/accounts/login/").text
        token = page.partition('name="csrfmiddlewaretoken" value="')[2].partition('"')[0]
        body = urlencode(
            {"csrfmiddlewaretoken": token, "username": email, "password": PASSWORD}
        ).encode()
        cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    head = (
        f"POST /accounts/login/ HTTP/1.1\r\nHost: 127.0.0.1:{site.port}\r\n"
        f"Origin: {site.url}\r\nCookie: {cookies}\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
