"""Users who work with the site without pause and record everything that goes wrong."""

import itertools
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.cookiejar import CookieJar

import httpx2

from proof.outage.client import CACHE, SESSION, Client
from proof.outage.recorder import Ended, Recorder
from proof.site import PASSWORD

LOGIN, LOGOUT = "/accounts/login/", "/accounts/logout/"
# When users from before the fault log out: seconds after its beginning. Three seconds after a
# planned failover, idle connections still lead to the former primary.
LEAVING = (0.2, 1.0, 2.0, 3.0, 4.0)


class Login:
    """One login, and what its user knows about it."""

    def __init__(self) -> None:
        self.jar = CookieJar()
        self.written = 0
        self.possible = {0}  # more than one number while a write was not acknowledged
        self.lost = False  # logged out by the site: recorded once


class User(threading.Thread):
    """Logs in, reads, writes to the session, logs out, replays old cookies, and begins again.

    Each user also keeps some sessions to the end and ends others at set times.
    """

    def __init__(self, number: int, email: str, clients: list[Client], recorder: Recorder) -> None:
        super().__init__(daemon=True, name=email)
        self.email, self.clients, self.recorder = email, clients, recorder
        self.turn = itertools.cycle(clients)
        self.random = random.Random(number)
        self.leaving = [LEAVING[(number + step) % len(LEAVING)] for step in (0, 2)]
        self.keepers: list[Login] = []
        self.leavers: list[tuple[float, Login]] = []
        self.ended: list[Ended] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.keepers = [self.log_in(), self.log_in()]
            self.leavers = [(seconds, self.log_in()) for seconds in self.leaving]
            joined = False
            for turn in itertools.count():
                if self.recorder.over.is_set():
                    break
                if self.recorder.phase == "fault" and not joined:
                    self.keepers.append(self.log_in())
                    joined = True
                self.live(self.log_in())
                self.write(self.keepers[turn % len(self.keepers)])
                self.leave()
            self.finish()
        except BaseException as error:
            self.error = error

    def live(self, login: Login) -> None:
        """Write, read, use the cache, log out and replay the cookie."""
        self.write(login)
        self.read(login)
        next(self.turn).get(CACHE, params={"name": str(self.random.random())})
        if session := self.log_out(login):
            for _ in self.clients:
                self.replay(session)
        if self.recorder.ended:
            self.replay(self.random.choice(self.recorder.ended))

    def leave(self) -> None:
        """Use the sessions that end during the fault; end those whose time has come."""
        for seconds, login in [*self.leavers]:
            if self.recorder.since("fault") >= seconds:
                self.leavers.remove((seconds, login))
                self.log_out(login)
            else:
                self.read(login)

    def finish(self) -> None:
        """Read everything once more, through both workers."""
        for login in [*self.keepers, *(login for _, login in self.leavers)]:
            for _ in self.clients:
                self.read(login)
                self.see(login)
        for session in self.ended[-20:]:
            for _ in self.clients:
                self.replay(session)

    def log_in(self) -> Login:
        """Log in, however often that takes; record each refusal."""
        while True:
            login, client = Login(), next(self.turn)
            client.cookies = login.jar
            answer = client.get(LOGIN)
            if answer.status_code == 200:
                form = {"username": self.email, "password": PASSWORD}
                answer = client.post_form(answer, form, LOGIN)
            if answer.status_code == 302:
                self.recorder.count("logins")
                return login
            self.recorder.fail("refused", f"{answer.request.method} {answer.status_code}")
            if self.recorder.over.is_set():
                login.lost = True
                return login
            time.sleep(0.1)

    def see(self, login: Login) -> httpx2.Response | None:
        """Return the dashboard, or None if it is not the user's."""
        client = next(self.turn)
        client.cookies = login.jar
        page = client.get("/dashboard/")
        if page.status_code == 200 and self.email in page.text:
            return page
        self.missed(login, page)
        return None

    def missed(self, login: Login, answer: httpx2.Response) -> None:
        """Record, once for each login, that the site logged it out."""
        if answer.status_code < 500 and not login.lost:
            login.lost = True
            self.recorder.fail("logged_out", f"{answer.request.url.path} by {self.email}")

    def read(self, login: Login) -> None:
        """Read the number in the session: it must be one that was written last."""
        self.visit(login)

    def write(self, login: Login) -> None:
        """Write the next number, after the site has shown the last one."""
        self.visit(login, login.written + 1)

    def visit(self, login: Login, number: int | None = None) -> None:
        if login.lost:
            return
        client = next(self.turn)
        client.cookies = login.jar
        if number is None:
            answer = client.get(SESSION)
        else:
            login.written = number
            answer = client.post(SESSION, data={"number": str(number)})
        if answer.status_code != 200:
            if number is not None:
                login.possible.add(number)
            return
        found = answer.json()
        if found["user"] != self.email:
            self.missed(login, answer)
            return
        if found["number"] not in login.possible:
            expected = " or ".join(map(str, sorted(login.possible)))
            self.recorder.fail("lost", f"{found['number']} instead of {expected}")
            login.possible = {found["number"]}
        if number is not None:
            login.possible = {number}
            self.recorder.count("writes")

    def log_out(self, login: Login) -> Ended | None:
        """Log out by the button on the dashboard; return the session if that ended it."""
        if login.lost or not (page := self.see(login)):
            return None
        client = next(self.turn)
        client.cookies = login.jar
        key = client.session_key
        answer = client.post_form(page, {}, LOGOUT)
        if answer.status_code != 302:
            return None
        session = Ended(key, client.worker)
        self.recorder.count("logouts")
        self.ended.append(session)
        self.recorder.end(session)
        return session

    def replay(self, session: Ended) -> None:
        """Send the cookie of a session that was ended."""
        client = next(self.turn)
        user = client.as_owner_of(session.key)
        self.recorder.count("replays")
        if client.worker != session.worker:
            self.recorder.count("replays at the other worker")
        if user:
            self.recorder.fail(
                "alive", f"{user} by worker {client.worker}, ended by {session.worker}"
            )


class RacingUser(User):
    """Logs out while requests of the same session are in flight, which read and write it."""

    def __init__(
        self,
        number: int,
        email: str,
        clients: list[Client],
        rivals: list[Client],
        recorder: Recorder,
    ) -> None:
        super().__init__(number, email, clients, recorder)
        self.rivals = rivals

    def run(self) -> None:
        try:
            with ThreadPoolExecutor(1) as pool:
                while not self.recorder.over.is_set():
                    self.race(pool)
            self.finish()
        except BaseException as error:
            self.error = error

    def race(self, pool: ThreadPoolExecutor) -> None:
        """End a session while its requests are in flight; later ones must be anonymous."""
        login, stop = self.log_in(), threading.Event()
        if login.lost:
            return
        client = next(self.turn)
        client.cookies = login.jar
        rival = pool.submit(self.hurry, client.session_key, stop)
        try:
            time.sleep(0.02)
            session, acknowledged = self.log_out(login), time.monotonic()
            time.sleep(0.05)
        finally:
            stop.set()  # the pool would wait for it without end
        for began, user in rival.result():
            if session and began > acknowledged and user:
                self.recorder.fail("alive", f"{user}, requested after its session had ended")
            self.recorder.count("racing requests")

    def hurry(self, key: str, stop: threading.Event) -> list[tuple[float, str | None]]:
        """Read and write the session through both workers; return when, and as whom."""
        answers: list[tuple[float, str | None]] = []
        for number in itertools.count():
            if stop.is_set():
                return answers
            client, began = self.rivals[number % len(self.rivals)], time.monotonic()
            answers.append((began, client.as_owner_of(key, number if number % 3 == 0 else None)))
        return answers
