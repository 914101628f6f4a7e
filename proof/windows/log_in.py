"""Run in a site's folder by its Python: make an account, serve the site, log in over HTTP."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, ProxyHandler, build_opener

PATIENCE = 240  # seconds for the server to start; Wine is slow on a busy machine
EMAIL, PASSWORD = f"ada{time.time_ns()}@example.com", "correct horse battery staple"


def main() -> None:
    """Raise unless the login succeeds."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    account = ["createsuperuser", "--noinput", f"--email={EMAIL}"]
    secret = {**os.environ, "DJANGO_SUPERUSER_PASSWORD": PASSWORD}
    subprocess.run([sys.executable, "manage.py", *account], env=secret, check=True)
    # The interpreter itself: on Windows, .venv's only starts it, and would leave it running.
    python = getattr(sys, "_base_executable", sys.executable)
    server = subprocess.Popen(
        [python, "manage.py", "runserver", "--noreload", address],
        env={**os.environ, "__PYVENV_LAUNCHER__": sys.executable},
    )
    try:
        log_in(f"http://{address}", lambda: server.poll() is None)
    finally:
        server.terminate()
        server.wait(20)


def log_in(url: str, running: Callable[[], bool]) -> None:
    """Wait for the login page, send its form, and expect the dashboard."""
    browser = build_opener(ProxyHandler({}), HTTPCookieProcessor())
    end = time.monotonic() + PATIENCE
    while True:
        try:
            page = browser.open(f"{url}/accounts/login/").read().decode()
            break
        except URLError:
            if time.monotonic() > end or not running():
                raise
            time.sleep(0.2)
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
    assert token, page
    form = {"csrfmiddlewaretoken": token[1], "username": EMAIL, "password": PASSWORD}
    answer = browser.open(f"{url}/accounts/login/", urlencode(form).encode())
    assert answer.geturl() == f"{url}/dashboard/", answer.geturl()
    print("Logged in.")


if __name__ == "__main__":
    main()
