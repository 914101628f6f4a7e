"""The ways into the site: connections to its workers, at which every request is noted."""

import time
from http.cookiejar import CookieJar
from typing import Any

import httpx

from proof.outage.ledger import NO_ANSWER, Ledger
from proof.site import Browser, Site

DOORS_OPEN = 60  # seconds in which each worker has to answer
# See overlay/outage/views.py.
SESSION, CACHE, SAY = "/outage/session/", "/outage/cache/", "/outage/say/"


class Door(Browser):
    """One connection, kept alive, to one worker; it writes down every request."""

    def __init__(self, site: Site, ledger: Ledger) -> None:
        # The server closes idle connections after 5 seconds: be the first.
        limits = httpx.Limits(max_connections=1, keepalive_expiry=3)
        super().__init__(**site.connection, limits=limits)
        self.ledger, self.worker = ledger, ""

    def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """Send as any client; no answer at all comes back as NO_ANSWER."""
        phase, began = self.ledger.phase, time.monotonic()
        try:
            response = super().send(request, **options)
            self.worker = response.headers.get("X-Worker", "")
        except httpx.TransportError as error:
            response = httpx.Response(NO_ANSWER, request=request, text=repr(error))
        self.ledger.answered(phase, time.monotonic() - began)
        if response.status_code >= 500:
            why = response.text[:80] if response.status_code == NO_ANSWER else ""
            self.ledger.fail(
                "errors", f"{request.method} {request.url.path} {response.status_code} {why}"
            )
        return response

    def as_owner_of(self, key: str, number: int | None = None) -> str | None:
        """Send nothing but a session's key, return who the site thinks that is.

        With `number` that is written to the session.
        """
        self.cookies = CookieJar()
        self.headers["Cookie"] = f"__Host-sessionid={key}"
        try:
            data = {"number": str(number)}
            answer = self.get(SESSION) if number is None else self.post(SESSION, data=data)
        finally:
            del self.headers["Cookie"]
        return answer.json()["user"] if answer.status_code == 200 else None


def open_doors(site: Site, ledger: Ledger, workers: int = 2) -> list[Door]:
    """Return a door to each of the site's workers."""
    doors: dict[str, Door] = {}
    deadline = time.monotonic() + DOORS_OPEN
    while time.monotonic() < deadline:
        door = Door(site, ledger)
        door.get(SESSION)
        if doors.setdefault(door.worker, door) is not door:
            door.close()
        if len(doors) == workers:
            return list(doors.values())
    for door in doors.values():
        door.close()
    raise AssertionError(
        f"Of {workers} workers only these answered in {DOORS_OPEN} s: {', '.join(doors) or 'none'}"
    )
