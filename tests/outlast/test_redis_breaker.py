"""The breaker, with a clock that stands still."""

import threading
from types import SimpleNamespace
from typing import Any

import pytest
from outlast.addresses import read_address
from outlast.redis import COOLDOWN, Breaker, Unavailable
from outlast.redis import breaker as module
from redis import exceptions


class Server:
    """A server that works, or raises `error`."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.checks = self.failures = self.calls = 0

    def check(self) -> None:
        self.checks += 1
        if self.error:
            raise self.error

    def answer(self, breaker: Breaker, value: Any = "answer") -> Any:
        with breaker:
            self.calls += 1
            if self.error:
                raise self.error
            return value

    def on_failure(self) -> None:
        self.failures += 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    # Python defines only differences of such times. None is as long as an outage in a test.
    clock = SimpleNamespace(now=-100.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def breaker(server: Server, clock: SimpleNamespace) -> Breaker:
    return Breaker(read_address("redis://:s3cret@here:1/0"), server.check, server.on_failure)


@pytest.fixture
def broken(breaker: Breaker, server: Server, clock: SimpleNamespace) -> Breaker:
    server.error = exceptions.ConnectionError("refused.")
    with pytest.raises(Unavailable):
        server.answer(breaker)
    clock.now += 0.1
    return breaker


def test_passes_calls_on(
    breaker: Breaker, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    assert server.answer(breaker, 5) == 5
    assert (breaker.is_open, breaker.reason, server.checks, caplog.messages) == (False, "", 0, [])


def test_refuses_calls_after_a_failure(
    breaker: Breaker, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.error = exceptions.TimeoutError("no reply")
    for _ in range(2):
        with pytest.raises(Unavailable, match=r"^Redis at here:1/0 cannot be used: no reply\.$"):
            server.answer(breaker)
    assert (server.calls, server.checks, server.failures, breaker.is_open) == (1, 0, 1, True)
    sentence = "Redis at here:1/0 cannot be used: no reply. The site works without it and tries "
    sentence += "again every 2 s. To find the cause, run python manage.py doctor."
    assert caplog.messages == [sentence]


def test_too_few_connections_are_no_outage(
    breaker: Breaker, server: Server, clock: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    server.error = exceptions.MaxConnectionsError("Too many connections")
    for _ in range(3):
        with pytest.raises(Unavailable, match="raise max_connections"):
            server.answer(breaker)
    assert (breaker.is_open, server.failures, len(caplog.messages)) == (False, 0, 1)
    for seconds, warnings in ((59.5, 1), (0.5, 2)):
        clock.now += seconds
        with pytest.raises(Unavailable):
            server.answer(breaker)
        assert len(caplog.messages) == warnings


def test_is_used_again_once_the_check_succeeds(
    broken: Breaker, server: Server, clock: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    server.error = None
    clock.now += COOLDOWN - 0.2
    with pytest.raises(Unavailable):
        server.answer(broken)
    assert server.checks == 0
    clock.now += 0.2
    assert server.answer(broken) == "answer"
    assert (server.checks, broken.is_open) == (1, False)
    assert caplog.messages[-1] == f"Redis at here:1/0 is used again after {COOLDOWN + 0.1:.1f} s."
    server.answer(broken)
    assert server.checks == 1


def test_is_asked_once_in_a_while_as_long_as_the_check_fails(
    broken: Breaker, server: Server, clock: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    for checks in range(1, 5):
        clock.now += COOLDOWN
        for _ in range(10):
            with pytest.raises(Unavailable):
                server.answer(broken)
        assert (server.checks, server.calls) == (checks, 1)
    assert not caplog.messages  # it was logged when it began


def test_the_next_caller_checks_if_redis_can_probably_be_used_again(
    broken: Breaker, server: Server
) -> None:
    server.error = None
    with pytest.raises(Unavailable):
        server.answer(broken)
    broken.probe_soon()
    assert server.answer(broken) == "answer"


def test_one_caller_checks_while_the_others_are_refused(
    server: Server, clock: SimpleNamespace, broken: Breaker
) -> None:
    server.error = None
    checking, checked = threading.Event(), threading.Event()

    def slow_check() -> None:
        server.checks += 1
        checking.set()
        assert checked.wait(10)

    broken.check = slow_check
    clock.now += COOLDOWN
    results: list[Any] = []
    caller = threading.Thread(target=lambda: results.append(server.answer(broken)))
    caller.start()
    assert checking.wait(10)
    for _ in range(20):  # none of them waits for the one that does
        with pytest.raises(Unavailable):
            server.answer(broken)
    checked.set()
    caller.join(10)
    assert (results, server.checks) == (["answer"], 1)


def test_a_check_that_never_returns_is_followed_by_another(
    broken: Breaker, server: Server, clock: SimpleNamespace
) -> None:
    server.error = None
    broken.check = lambda: (_ for _ in ()).throw(KeyboardInterrupt)
    clock.now += COOLDOWN
    with pytest.raises(KeyboardInterrupt):
        server.answer(broken)
    broken.check = server.check
    with pytest.raises(Unavailable):
        server.answer(broken)
    clock.now += COOLDOWN
    assert server.answer(broken) == "answer"


def test_those_who_were_waiting_do_not_put_the_check_off(
    breaker: Breaker, server: Server, clock: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Unavailable), breaker:
        server.error = exceptions.ConnectionError("refused")
        with pytest.raises(Unavailable):
            server.answer(breaker)
        clock.now += 0.25
        raise exceptions.TimeoutError("at last")
    server.error = None
    clock.now += COOLDOWN - 0.25
    assert server.answer(breaker) == "answer"
    assert len(caplog.messages) == 2


def test_a_password_is_struck_out(
    breaker: Breaker, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.error = exceptions.ConnectionError("unknown command 'HELLO': 'AUTH' 's3cret'")
    with pytest.raises(Unavailable, match=r"'AUTH' '\*\*\*'"):
        server.answer(breaker)
    assert "s3cret" not in caplog.messages[0] + breaker.reason


@pytest.mark.parametrize(
    ("size", "well", "checks"),
    [(9, True, 0), (1_000_000, True, 0), (1_000_001, True, 1), (2_000_000, False, 1)],
)
def test_a_large_value_is_no_outage_if_the_server_works(
    size: int, well: bool, checks: int, breaker: Breaker, server: Server
) -> None:
    refused = exceptions.ConnectionError("hung up")
    server.error = None if well else refused
    with pytest.raises(Unavailable) as error, breaker:
        breaker.excuse_large_value(refused, ["SET", b"key", b"x" * size])
        raise refused
    is_excused = well and checks == 1
    assert ("did not accept a value of" in str(error.value)) is is_excused
    assert (server.checks, breaker.is_open) == (checks, not is_excused)


@pytest.mark.parametrize("explicitly", [True, False])
def test_no_error_that_leads_to_another_shows_a_password(
    explicitly: bool, breaker: Breaker
) -> None:
    with pytest.raises(Unavailable) as error, breaker:
        try:
            raise OSError("s3cret was wrong")
        except OSError as first:
            if explicitly:
                raise exceptions.ConnectionError("no s3cret") from first
            raise exceptions.ConnectionError("no s3cret")  # noqa: B904
    link: BaseException | None = error.value
    while link := link and (link.__cause__ or link.__context__):
        assert "s3cret" not in repr(link)
