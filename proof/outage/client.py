"""Clients of the site's workers, whose requests are all recorded."""

import time
from http.cookiejar import CookieJar
from typing import Any

import httpx2

from proof.outage.result import NO_ANSWER, Result
from proof.site import Browser, Site

START_SECONDS = 60  # in which each worker has to answer
# See overlay/outage/urls.py.
SESSION, CACHE, SEND = "/outage/session/", "/outage/cache/", "/outage/send/"


class Client(Browser):
    """One kept-alive connection to one worker."""

    def __init__(self, site: Site, result: Result) -> None:
        # The server closes idle connections after 5 seconds: close them first.
        limits = httpx2.Limits(max_connections=1, keepalive_expiry=3)
        super().__init__(**site.connection, limits=limits)
        self.result, self.worker = result, ""

    def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        """Send as any client; a request without an answer returns the status NO_ANSWER."""
        phase, began = self.result.phase, time.monotonic()
        try:
            response = super().send(request, **options)
            self.worker = response.headers.get("X-Worker", "")
        except httpx2.TransportError as error:
            response = httpx2.Response(NO_ANSWER, request=request, text=repr(error))
        self.result.answered(phase, time.monotonic() - began)
        if response.status_code >= 500:
            why = response.text[:80] if response.status_code == NO_ANSWER else ""
            asked = f"{request.method} {request.url.path}"
            self.result.fail("errors", f"{asked} {response.status_code} {why}")
        return response

    def as_owner_of(self, key: str, number: int | None = None) -> str | None:
        """Send only a session's key; return the user the site takes that for, or None.

        With `number`, write it to the session.
        """
        self.cookies = CookieJar()
        cookie = {"Cookie": f"__Host-sessionid={key}"}
        if number is None:
            answer = self.get(SESSION, headers=cookie)
        else:
            answer = self.post(SESSION, data={"number": str(number)}, headers=cookie)
        return answer.json()["user"] if answer.status_code == 200 else None


def open_clients(site: Site, result: Result, workers: int = 2) -> list[Client]:
    """Return a client of each of the site's workers."""
    clients: dict[str, Client] = {}
    deadline = time.monotonic() + START_SECONDS
    while len(clients) < workers:
        client = Client(site, result)
        client.get(SESSION)
        if clients.setdefault(client.worker, client) is not client:
            client.close()
        assert time.monotonic() < deadline, f"Only {len(clients)} of {workers} workers answer."
    return list(clients.values())
