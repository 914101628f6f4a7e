"""People who use the site without pause, and notice whatever goes wrong for them."""

import itertools
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.cookiejar import CookieJar

import httpx

from proof.outage.doors import CACHE, SESSION, Door
from proof.outage.ledger import Ended, Ledger
from proof.site import PASSWORD

LOGIN, LOGOUT = "/accounts/login/", "/accounts/logout/"
# When people who were there before the fault leave: seconds after its beginning. Three
# seconds after a planned failover idle connections still lead to the former primary.
LEAVING = (0.2, 1.0, 2.0, 3.0, 4.0)


class Login:
    """One login of somebody, and what they know about it."""

    def __init__(self) -> None:
        self.jar = CookieJar()
        self.written = 0
        self.possible = {0}  # more than one number while a write was not acknowledged
        self.lost = False  # logged out by the site: that is told once


class Person(threading.Thread):
    """Logs in, looks around, writes to the session, logs out, replays old cookies, again.

    Beside that each person keeps some sessions to the end, and leaves others at set times.
    """

    def __init__(self, number: int, email: str, doors: list[Door], ledger: Ledger) -> None:
        super().__init__(daemon=True, name=email)
        self.email, self.doors, self.ledger = email, doors, ledger
        self.turn = itertools.cycle(doors)
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
                if self.ledger.over.is_set():
                    break
                if self.ledger.phase == "fault" and not joined:
                    self.keepers.append(self.log_in())
                    joined = True
                self.live(self.log_in())
                self.write(self.keepers[turn % len(self.keepers)])
                self.leave()
            self.finish()
        except BaseException as error:
            self.error = error

    def live(self, login: Login) -> None:
        """Do what a short visit consists of."""
        self.write(login)
        self.read(login)
        next(self.turn).get(CACHE, params={"name": str(self.random.random())})
        if session := self.log_out(login):
            for _ in self.doors:
                self.replay(session)
        if self.ledger.ended:
            self.replay(self.random.choice(self.ledger.ended))

    def leave(self) -> None:
        """Use the sessions that are to end during the fault; end those whose time has come."""
        for seconds, login in [*self.leavers]:
            if self.ledger.since("fault") >= seconds:
                self.leavers.remove((seconds, login))
                self.log_out(login)
            else:
                self.read(login)

    def finish(self) -> None:
        """Look at everything once more, through both workers."""
        for login in [*self.keepers, *(login for _, login in self.leavers)]:
            for _ in self.doors:
                self.read(login)
                self.see(login)
        for session in self.ended[-20:]:
            for _ in self.doors:
                self.replay(session)

    def log_in(self) -> Login:
        """Log in, however often that takes; each refusal is told."""
        while True:
            login, door = Login(), next(self.turn)
            door.cookies = login.jar
            answer = door.get(LOGIN)
            if answer.status_code == 200:
                form = {"username": self.email, "password": PASSWORD}
                answer = door.post_form(answer, form, LOGIN)
            if answer.status_code == 302:
                self.ledger.note("logins")
                return login
            self.ledger.fail("refused", f"{answer.request.method} {answer.status_code}")
            if self.ledger.over.is_set():
                login.lost = True
                return login
            time.sleep(0.1)

    def see(self, login: Login) -> httpx.Response | None:
        """Open the dashboard; return it if it is ours."""
        door = next(self.turn)
        door.cookies = login.jar
        page = door.get("/dashboard/")
        if page.status_code == 200 and self.email in page.text:
            return page
        self.missed(login, page)
        return None

    def missed(self, login: Login, answer: httpx.Response) -> None:
        """Tell, once for each login, that the site has forgotten it."""
        if answer.status_code < 500 and not login.lost:
            login.lost = True
            self.ledger.fail("logged_out", f"{answer.request.url.path} by {self.email}")

    def read(self, login: Login) -> None:
        """Read the number in the session: it is one that was written last."""
        self.visit(login)

    def write(self, login: Login) -> None:
        """Write the next number, once the site has shown the last one."""
        self.visit(login, login.written + 1)

    def visit(self, login: Login, number: int | None = None) -> None:
        if login.lost:
            return
        door = next(self.turn)
        door.cookies = login.jar
        if number is None:
            answer = door.get(SESSION)
        else:
            login.written = number
            answer = door.post(SESSION, data={"number": str(number)})
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
            self.ledger.fail("lost", f"{found['number']} instead of {expected}")
            login.possible = {found["number"]}
        if number is not None:
            login.possible = {number}
            self.ledger.note("writes")

    def log_out(self, login: Login) -> Ended | None:
        """Log out by the button on the dashboard; return the session if that ended it."""
        if login.lost or not (page := self.see(login)):
            return None
        door = next(self.turn)
        door.cookies = login.jar
        key = door.session_key
        answer = door.post_form(page, {}, LOGOUT)
        if answer.status_code != 302:
            return None
        session = Ended(key, door.worker)
        self.ledger.note("logouts")
        self.ended.append(session)
        self.ledger.end(session)
        return session

    def replay(self, session: Ended) -> None:
        """Come with the cookie of a session that was ended."""
        door = next(self.turn)
        user = door.as_owner_of(session.key)
        self.ledger.note("replays")
        if door.worker != session.worker:
            self.ledger.note("replays at the other worker")
        if user:
            self.ledger.fail("alive", f"{user} by worker {door.worker}, ended by {session.worker}")


class Racer(Person):
    """Logs out while requests of the same session are in flight, which read and write it."""

    def __init__(
        self, number: int, email: str, doors: list[Door], rivals: list[Door], ledger: Ledger
    ) -> None:
        super().__init__(number, email, doors, ledger)
        self.rivals = rivals

    def run(self) -> None:
        try:
            with ThreadPoolExecutor(1) as pool:
                while not self.ledger.over.is_set():
                    self.race(pool)
            self.finish()
        except BaseException as error:
            self.error = error

    def race(self, pool: ThreadPoolExecutor) -> None:
        """End a session in the middle of its requests: those that come later are nobody's."""
        login, stop = self.log_in(), threading.Event()
        if login.lost:
            return
        door = next(self.turn)
        door.cookies = login.jar
        rival = pool.submit(self.hurry, door.session_key, stop)
        try:
            time.sleep(0.02)
            session, acknowledged = self.log_out(login), time.monotonic()
            time.sleep(0.05)
        finally:
            stop.set()  # the pool would wait for it without end
        for began, user in rival.result():
            if session and began > acknowledged and user:
                self.ledger.fail("alive", f"{user}, asked for while it was ended")
            self.ledger.note("racing requests")

    def hurry(self, key: str, stop: threading.Event) -> list[tuple[float, str | None]]:
        """Read and write the session through both workers; return when, and as whom."""
        answers: list[tuple[float, str | None]] = []
        for number in itertools.count():
            if stop.is_set():
                return answers
            door, began = self.rivals[number % len(self.rivals)], time.monotonic()
            answers.append((began, door.as_owner_of(key, number if number % 3 == 0 else None)))
        return answers
