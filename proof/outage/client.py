"""Clients of the site's workers, which record every request."""

import time
from http.cookiejar import CookieJar
from typing import Any

import httpx2

from proof.outage.recorder import NO_ANSWER, Recorder
from proof.site import Browser, Site

START_SECONDS = 60  # in which each worker has to answer
# See overlay/outage/views.py.
SESSION, CACHE, SEND = "/outage/session/", "/outage/cache/", "/outage/send/"


class Client(Browser):
    """One kept-alive connection to one worker; records every request."""

    def __init__(self, site: Site, recorder: Recorder) -> None:
        # The server closes idle connections after 5 seconds: close them first.
        limits = httpx2.Limits(max_connections=1, keepalive_expiry=3)
        super().__init__(**site.connection, limits=limits)
        self.recorder, self.worker = recorder, ""

    def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        """Send as any client; a request without an answer returns the status NO_ANSWER."""
        phase, began = self.recorder.phase, time.monotonic()
        try:
            response = super().send(request, **options)
            self.worker = response.headers.get("X-Worker", "")
        except httpx2.TransportError as error:
            response = httpx2.Response(NO_ANSWER, request=request, text=repr(error))
        self.recorder.answered(phase, time.monotonic() - began)
        if response.status_code >= 500:
            why = response.text[:80] if response.status_code == NO_ANSWER else ""
            self.recorder.fail(
                "errors", f"{request.method} {request.url.path} {response.status_code} {why}"
            )
        return response

    def as_owner_of(self, key: str, number: int | None = None) -> str | None:
        """Send only a session's key; return the user the site takes that for, or None.

        With `number`, write it to the session.
        """
        self.cookies = CookieJar()
        self.headers["Cookie"] = f"__Host-sessionid={key}"
        try:
            data = {"number": str(number)}
            answer = self.get(SESSION) if number is None else self.post(SESSION, data=data)
        finally:
            del self.headers["Cookie"]
        return answer.json()["user"] if answer.status_code == 200 else None


def open_clients(site: Site, recorder: Recorder, workers: int = 2) -> list[Client]:
    """Return a client of each of the site's workers."""
    clients: dict[str, Client] = {}
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        client = Client(site, recorder)
        client.get(SESSION)
        if clients.setdefault(client.worker, client) is not client:
            client.close()
        if len(clients) == workers:
            return list(clients.values())
    for client in clients.values():
        client.close()
    raise AssertionError(
        f"Of {workers} workers only these answered in {START_SECONDS} s: {', '.join(clients)}"
    )
