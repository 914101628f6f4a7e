"""The breaker by itself, with a clock that stands still until it is told to move."""

import threading
from types import SimpleNamespace
from typing import Any

import pytest
from outlast import breaker as module
from outlast.breaker import COOLDOWN, Breaker, Unavailable
from redis import exceptions

pytestmark = pytest.mark.any_redis


class Redis:
    """What the breaker passes calls on to: well, or raising `error`."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.checks = self.failures = self.calls = 0

    def check(self) -> None:
        self.checks += 1
        if self.error:
            raise self.error

    def answer(self, value: Any = "answer") -> Any:
        self.calls += 1
        if self.error:
            raise self.error
        return value

    def on_failure(self) -> None:
        self.failures += 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    # Less than an outage lasts, as after the start of a machine: no other sum gives its length.
    clock = SimpleNamespace(now=1.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def redis() -> Redis:
    return Redis()


@pytest.fixture
def breaker(redis: Redis, clock: SimpleNamespace) -> Breaker:
    return Breaker("here:1/0", redis.check, redis.on_failure, secrets=("s3cret",))


@pytest.fixture
def broken(breaker: Breaker, redis: Redis, clock: SimpleNamespace) -> Breaker:
    redis.error = exceptions.ConnectionError("refused.")
    with pytest.raises(Unavailable):
        breaker.call(redis.answer)
    clock.now += 0.1
    return breaker


def test_passes_calls_on(breaker: Breaker, redis: Redis, caplog: pytest.LogCaptureFixture) -> None:
    assert breaker.call(redis.answer, value=5) == 5
    assert (breaker.state, breaker.reason, redis.checks, caplog.messages) == ("closed", "", 0, [])


@pytest.mark.parametrize(
    "error",
    [
        exceptions.ConnectionError("x"),
        exceptions.TimeoutError("x"),
        exceptions.BusyLoadingError("x"),
        exceptions.AuthenticationError("x"),
        exceptions.OutOfMemoryError("x"),
        exceptions.ReadOnlyError("x"),
        exceptions.NoPermissionError("x"),
        exceptions.InvalidResponse("x"),
        exceptions.ResponseError("MISCONF x"),
        exceptions.ResponseError("DB index is out of range"),
        OSError("x"),
        AttributeError("of redis-py, which was given nonsense"),
        UnicodeDecodeError("utf-8", b"", 0, 1, "x"),
        exceptions.RedisError(),
    ],
    ids=repr,
)
def test_leaves_redis_alone_after_any_failure(
    breaker: Breaker, redis: Redis, error: Exception
) -> None:
    redis.error = error
    with pytest.raises(Unavailable, match=r"Redis at here:1/0 cannot be used: .+\.$") as caught:
        breaker.call(redis.answer)
    assert caught.value.__cause__ is error
    redis.error = None
    with pytest.raises(Unavailable):
        breaker.call(redis.answer)
    assert (redis.calls, redis.checks, redis.failures, breaker.state) == (1, 0, 1, "open")


@pytest.mark.parametrize(
    "error",
    [
        exceptions.DataError("an argument"),
        exceptions.WatchError("a race"),
        exceptions.NoScriptError("load it"),
        exceptions.ResponseError("WRONGTYPE Operation against a key"),
        exceptions.ResponseError("value is not an integer or out of range"),
        exceptions.ResponseError("increment or decrement would overflow"),
        exceptions.ResponseError("invalid expire time in 'set' command"),
    ],
    ids=str,
)
def test_an_answer_about_our_data_is_no_failure(
    breaker: Breaker, redis: Redis, error: Exception
) -> None:
    redis.error = error
    with pytest.raises(type(error)) as caught:
        breaker.call(redis.answer)
    assert caught.value is error
    assert (breaker.state, redis.failures) == ("closed", 0)


def test_our_own_crowd_is_no_failure(
    breaker: Breaker, redis: Redis, clock: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    redis.error = exceptions.MaxConnectionsError("Too many connections")
    for _ in range(3):
        with pytest.raises(Unavailable, match="raise max_connections"):
            breaker.call(redis.answer)
    assert (breaker.state, redis.calls, redis.failures, len(caplog.messages)) == (
        "closed",
        3,
        0,
        1,
    )
    clock.now += 60
    with pytest.raises(Unavailable):
        breaker.call(redis.answer)
    assert len(caplog.messages) == 2


def test_is_used_again_once_the_check_succeeds(
    broken: Breaker, redis: Redis, clock: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    redis.error = None
    clock.now += COOLDOWN
    assert broken.call(redis.answer) == "answer"
    assert (redis.checks, broken.state, broken.reason) == (1, "closed", "")
    assert caplog.messages[-1] == f"Redis at here:1/0 is used again after {COOLDOWN + 0.1:.1f} s."
    broken.call(redis.answer)
    assert redis.checks == 1


def test_is_asked_once_in_a_while_as_long_as_the_check_fails(
    broken: Breaker, redis: Redis, clock: SimpleNamespace
) -> None:
    for probes in range(1, 5):
        clock.now += COOLDOWN
        for _ in range(10):
            with pytest.raises(Unavailable):
                broken.call(redis.answer)
        assert (redis.checks, redis.calls) == (probes, 1)


def test_logs_the_start_and_the_end_and_nothing_between(
    breaker: Breaker, redis: Redis, clock: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    redis.error = exceptions.ConnectionError("refused")
    for _ in range(50):
        clock.now += 0.5
        with pytest.raises(Unavailable):
            breaker.call(redis.answer)
    redis.error = None
    clock.now += COOLDOWN
    breaker.call(redis.answer)
    assert len(caplog.messages) == 2
    assert caplog.messages[0].startswith(
        "Redis at here:1/0 cannot be used: refused. The site goes on"
    )


def test_one_caller_probes_while_the_others_go_on(
    redis: Redis, clock: SimpleNamespace, broken: Breaker
) -> None:
    redis.error = None
    probing, answered = threading.Event(), threading.Event()
    original = redis.check

    def slow_check() -> None:
        probing.set()
        assert answered.wait(10)
        original()

    broken._check = slow_check
    clock.now += COOLDOWN
    results: list[Any] = []
    prober = threading.Thread(target=lambda: results.append(broken.call(redis.answer)))
    prober.start()
    assert probing.wait(10)
    for _ in range(20):  # none of them waits for the one that does
        with pytest.raises(Unavailable):
            broken.call(redis.answer)
    answered.set()
    prober.join(10)
    assert results == ["answer"]
    assert redis.checks == 1


def test_a_probe_that_never_comes_back_is_followed_by_another(
    broken: Breaker, redis: Redis, clock: SimpleNamespace
) -> None:
    redis.error = None
    broken._check = lambda: (_ for _ in ()).throw(KeyboardInterrupt)
    clock.now += COOLDOWN
    with pytest.raises(KeyboardInterrupt):
        broken.call(redis.answer)
    broken._check = redis.check
    with pytest.raises(Unavailable):
        broken.call(redis.answer)
    clock.now += COOLDOWN
    assert broken.call(redis.answer) == "answer"


def test_stragglers_count_for_nothing(
    breaker: Breaker, redis: Redis, clock: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    def fail_after(seconds: float, meanwhile: Any) -> None:
        def call() -> None:
            clock.now += seconds
            meanwhile()
            raise exceptions.TimeoutError("at last")

        with pytest.raises(Unavailable):
            breaker.call(call)

    def another_fails() -> None:
        redis.error = exceptions.ConnectionError("refused")
        with pytest.raises(Unavailable):
            breaker.call(redis.answer)
        clock.now += 0.25

    fail_after(0.25, another_fails)
    assert (redis.failures, len(caplog.messages), breaker.reason) == (1, 1, "refused")
    clock.now += COOLDOWN - 0.25
    redis.error = None
    assert breaker.call(redis.answer) == "answer"  # it did not put the probe off

    def fails_and_recovers() -> None:
        another_fails()
        clock.now += COOLDOWN
        redis.error = None
        breaker.call(redis.answer)

    clock.now += 1
    fail_after(0.25, fails_and_recovers)
    assert (breaker.state, len(caplog.messages)) == ("closed", 4)


def test_a_login_is_struck_out(
    breaker: Breaker, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    redis.error = exceptions.ResponseError("unknown command 'HELLO', with args: 'AUTH' 's3cret'")
    with pytest.raises(Unavailable, match=r"'AUTH' '\*\*\*'"):
        breaker.call(redis.answer)
    assert "s3cret" not in caplog.messages[0] + breaker.reason
