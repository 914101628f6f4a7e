"""Users who work with the site without pause and record everything that goes wrong."""

import itertools
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.cookiejar import CookieJar

import httpx2

from proof.outage.client import CACHE, SESSION, Client
from proof.outage.result import Ended, Result
from proof.site import PASSWORD

LOGIN, LOGOUT = "/accounts/login/", "/accounts/logout/"
# When sessions from before the fault end: seconds after its beginning. Three seconds after a
# planned failover, idle connections still lead to the former primary.
LEAVING = (0.2, 1.0, 2.0, 3.0, 4.0)


class Login:
    """One login, and what its client expects of it."""

    def __init__(self) -> None:
        self.jar = CookieJar()
        self.written = 0
        self.possible = {0}  # more than one number while a write was not acknowledged
        self.lost = False  # logged out by the site: recorded once


class User:
    """Logs in, reads, writes to the session, logs out, replays old cookies, and begins again.

    Each user also keeps some sessions to the end and ends others at set times.
    """

    def __init__(self, email: str, clients: list[Client], result: Result) -> None:
        self.name, self.clients, self.result = email, clients, result
        self.turn = itertools.cycle(clients)
        self.random = random.Random(email)
        self.keepers: list[Login] = []
        self.leavers: list[tuple[float, Login]] = []
        self.ended: list[Ended] = []

    def run(self) -> None:
        self.work()
        self.finish()

    def work(self) -> None:
        self.keepers = [self.log_in(), self.log_in()]
        self.leavers = [(at, self.log_in()) for at in self.random.sample(LEAVING, 2)]
        for turn in itertools.count():
            if self.result.over.is_set():
                return
            if self.result.phase == "fault" and len(self.keepers) == 2:
                self.keepers.append(self.log_in())
            self.live(self.log_in())
            self.visit(self.keepers[turn % len(self.keepers)], write=True)
            self.leave()

    def live(self, login: Login) -> None:
        """Write, read, use the cache, log out and replay the cookie."""
        self.visit(login, write=True)
        self.visit(login)
        next(self.turn).get(CACHE, params={"name": str(self.random.random())})
        if session := self.log_out(login):
            self.replay(session)
            self.replay(session)
        if self.result.ended:
            self.replay(self.random.choice(self.result.ended))

    def leave(self) -> None:
        """Use the sessions that end during the fault; end those whose time has come."""
        for at, login in [*self.leavers]:
            if self.result.since("fault") >= at:
                self.leavers.remove((at, login))
                self.log_out(login)
            else:
                self.visit(login)

    def finish(self) -> None:
        """Look at everything once more, through both workers."""
        for _ in self.clients:
            for login in [*self.keepers, *(login for _, login in self.leavers)]:
                self.visit(login)
                self.dashboard(login)
            for session in self.ended[-20:]:
                self.replay(session)
            next(self.turn)

    def client_for(self, login: Login) -> Client:
        """Return the next worker's client, with the cookies of a login."""
        client = next(self.turn)
        client.cookies = login.jar
        return client

    def log_in(self) -> Login:
        """Log in, however often that takes; record each refusal."""
        while True:
            login = Login()
            client = self.client_for(login)
            answer = client.get(LOGIN)
            if answer.status_code == 200:
                form = {"username": self.name, "password": PASSWORD}
                answer = client.post_form(answer, form, LOGIN)
            if answer.status_code == 302:
                self.result.count("logins")
                return login
            self.result.fail("refused", f"{answer.request.method} {answer.status_code}")
            if self.result.over.is_set():
                login.lost = True
                return login
            time.sleep(0.1)

    def dashboard(self, login: Login) -> httpx2.Response | None:
        """Return the dashboard, or None if it is not the user's."""
        page = self.client_for(login).get("/dashboard/")
        if page.status_code == 200 and self.name in page.text:
            return page
        self.missed(login, page)
        return None

    def missed(self, login: Login, answer: httpx2.Response) -> None:
        """Record, once for each login, that the site logged it out."""
        if answer.status_code < 500 and not login.lost:
            login.lost = True
            self.result.fail("logged_out", f"{answer.request.url.path} by {self.name}")

    def visit(self, login: Login, *, write: bool = False) -> None:
        """Read the number in the session, which must be one written last; write the next one."""
        if login.lost:
            return
        client = self.client_for(login)
        if write:
            login.written += 1
            answer = client.post(SESSION, data={"number": str(login.written)})
        else:
            answer = client.get(SESSION)
        if answer.status_code != 200:
            login.possible |= {login.written}
            return
        found = answer.json()
        if found["user"] != self.name:
            self.missed(login, answer)
            return
        if found["number"] not in login.possible:
            self.result.fail("lost", f"{found['number']} is not one of {login.possible}")
            login.possible = {found["number"]}
        if write:
            login.possible = {login.written}
            self.result.count("writes")

    def log_out(self, login: Login) -> Ended | None:
        """Log out by the button on the dashboard; return the session if that ended it."""
        if login.lost or not (page := self.dashboard(login)):
            return None
        client = self.client_for(login)
        key = client.session_key
        if client.post_form(page, {}, LOGOUT).status_code != 302:
            return None
        session = Ended(key, client.worker)
        self.result.count("logouts")
        self.ended.append(session)
        self.result.ended.append(session)
        return session

    def replay(self, session: Ended) -> None:
        """Send the cookie of a session that was ended."""
        client = next(self.turn)
        user = client.as_owner_of(session.key)
        self.result.count("replays")
        if client.worker != session.worker:
            self.result.count("replays at the other worker")
        if user:
            workers = f"by worker {client.worker}, ended by {session.worker}"
            self.result.fail("alive", f"{user} {workers}")


class RacingUser(User):
    """Logs out while requests of the same session are in flight, which read and write it."""

    def __init__(
        self, email: str, clients: list[Client], rivals: list[Client], result: Result
    ) -> None:
        super().__init__(email, clients, result)
        self.rivals = rivals

    def work(self) -> None:
        with ThreadPoolExecutor(1) as pool:
            while not self.result.over.is_set():
                self.race(pool)

    def race(self, pool: ThreadPoolExecutor) -> None:
        """End a session while its requests are in flight; later ones must be anonymous."""
        login, stop = self.log_in(), threading.Event()
        if login.lost:
            return
        rival = pool.submit(self.hurry, self.client_for(login).session_key, stop)
        try:
            time.sleep(0.02)
            session, acknowledged = self.log_out(login), time.monotonic()
            time.sleep(0.05)
        finally:
            stop.set()  # the pool would wait for it without end
        for began, user in rival.result():
            if session and began > acknowledged and user:
                self.result.fail("alive", f"{user}, requested after its session had ended")
            self.result.count("racing requests")

    def hurry(self, key: str, stop: threading.Event) -> list[tuple[float, str | None]]:
        """Read and write the session through both workers; return when, and as whom."""
        answers: list[tuple[float, str | None]] = []
        for number in itertools.count():
            if stop.is_set():
                return answers
            client, began = self.rivals[number % len(self.rivals)], time.monotonic()
            answers.append((began, client.as_owner_of(key, number if number % 3 == 0 else None)))
        return answers
