"""A writer to Redis gains nothing: planted copies are not read."""

import pickle
from collections.abc import Callable
from typing import Any

import pytest
from session_helpers import Copies, new_session, value_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


@pytest.fixture(autouse=True)
def _engine(use_engine: Callable[[str], None]) -> None:
    use_engine("redis")


@pytest.mark.parametrize(
    "planted",
    [
        b'"apple"',
        b"{}",
        b"[1]",
        b"null",
        b"\xff\xfe",
        b"",
        pickle.dumps({"value": "planted"}),
    ],
)
def test_what_is_planted_in_redis_is_not_read(planted: bytes, copies: Copies) -> None:
    key = new_session("apple")
    copies.put(key, planted)
    assert value_of(key) == "apple"


def test_a_planted_pickle_is_not_run(copies: Copies, tmp_path: Any) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (tmp_path.joinpath("exploded").touch, ())

    key = new_session("apple")
    copies.put(key, pickle.dumps(Bomb()))
    assert value_of(key) == "apple"
    assert not tmp_path.joinpath("exploded").exists()
