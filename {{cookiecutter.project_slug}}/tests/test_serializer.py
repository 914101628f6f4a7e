"""JSON in the cache: what survives it, what is refused, and what is not even read."""

import math
import pickle
from collections import OrderedDict, namedtuple
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from django.http import HttpResponse, HttpResponseNotFound, JsonResponse, QueryDict
from django.template import engines
from django.template.response import ContentNotRenderedError, TemplateResponse
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext_lazy
from outlast.serializers import CorruptValueError, JSONSerializer

serializer = JSONSerializer()
BERLIN = ZoneInfo("Europe/Berlin")


def round_trip(value: Any) -> Any:
    return serializer.loads(serializer.dumps(value))


def same(one: Any, other: Any) -> bool:
    """Equal, and of the same types throughout."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other or one != one  # NaN


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -7,
        10**40,
        1.5,
        -0.0,
        math.inf,
        math.nan,
        "",
        "naïve ☃ 🐍 \x00 \ud800",
        b"",
        b"text",
        bytes(range(256)),
        [],
        [1, [2, [3, "x", None]]],
        (),
        (1, (2,), [3]),
        {1, 2},
        frozenset({"a"}),
        {},
        {"a": {"b": [1, {"c": (1,)}]}, "": 1},
        date(2026, 5, 1),
        datetime(2026, 5, 1, 12, 30, 1, 5),  # noqa: DTZ001
        datetime(2026, 5, 1, 12, 30, tzinfo=UTC),
        datetime(2026, 5, 1, tzinfo=timezone(timedelta(hours=-3, minutes=-30))),
        datetime(2026, 5, 1, tzinfo=BERLIN),
        time(23, 59, 59, 999999),
        time(1, 2, tzinfo=UTC),
        timedelta(days=-1, microseconds=1),
        timedelta.max,
        Decimal("1.10"),
        Decimal("-1E+50"),
        UUID(int=2**128 - 1),
        mark_safe("<b>"),
    ],
    ids=repr,
)
def test_comes_back_as_it_was(value: Any) -> None:
    assert same(round_trip(value), value)
    assert same(round_trip({"in": [value]}), {"in": [value]})


def test_decimals_keep_their_zeros() -> None:
    assert str(round_trip(Decimal("1.10"))) == "1.10"


@pytest.mark.parametrize("fold", [0, 1])
def test_a_named_zone_keeps_its_name_and_the_hour_that_comes_twice(fold: int) -> None:
    value = datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=fold)
    result = round_trip(value)
    assert (result.tzinfo, result.fold) == (BERLIN, fold)
    assert result.utcoffset() == value.utcoffset()


@pytest.mark.parametrize(
    "value",
    [
        {"$date": "2026-05-01"},
        {"$dict": ["$date", "2026-05-01"]},
        {"$": 1},
        {"$none": {"$safe": [{"$tuple": ()}]}},
        {"$date": "x", "$time": "y"},
    ],
    ids=repr,
)
def test_mappings_that_look_like_ours_are_only_mappings(value: dict[str, Any]) -> None:
    assert same(round_trip(value), value)


def test_a_whole_number_is_one_for_redis_too() -> None:
    assert serializer.dumps(42) == b"42"
    assert serializer.dumps(True) != b"1"


class Colour(str, Enum):  # noqa: UP042
    RED = "red"


class Elsewhere(tzinfo):
    def utcoffset(self, moment: datetime | None) -> timedelta:
        return timedelta(hours=1)


Point = namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (object(), "builtins.object cannot be cached"),
        (Colour.RED, "Colour cannot be cached"),
        (Point(1, 2), "Point cannot be cached"),
        (OrderedDict(a=1), "collections.OrderedDict cannot be cached"),
        (QueryDict("a=1&a=2"), "QueryDict cannot be cached"),
        (gettext_lazy("x"), "cannot be cached"),
        (bytearray(b"x"), "bytearray cannot be cached"),
        (1j, "complex cannot be cached"),
        ({1: "x"}, "key 1 cannot be cached"),
        ({"a": {None: "x"}}, "key None cannot be cached"),
        ({mark_safe("k"): 1}, "cannot be cached"),
        (datetime(2026, 5, 1, tzinfo=Elsewhere()), "time zone .* cannot be cached"),
        (time(1, tzinfo=BERLIN), "time zone .* cannot be cached"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_would_not_come_back_is_refused(value: Any, sentence: str) -> None:
    with pytest.raises(TypeError, match=sentence):
        serializer.dumps(value)
    with pytest.raises(TypeError, match=sentence):
        serializer.dumps({"in": (value,)})


def test_a_value_that_contains_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(TypeError, match="contains itself"):
        serializer.dumps(value)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("a pickle was run",))


@pytest.mark.parametrize(
    "data",
    [
        *(pickle.dumps(Bomb(), protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)),
        b"",
        b"{",
        b"\xff",
        b"[" * 100_000,
        b"9" * 10_000,
        b'{"$unknown": 1}',
        b'{"$date": 1}',
        b'{"$date": "tomorrow"}',
        b'{"$datetime": ["2026-05-01", 0, "../../etc/passwd"]}',
        b'{"$decimal": "x"}',
        b'{"$decimal": {}}',
        b'{"$uuid": null}',
        b'{"$timedelta": [1e300]}',
        b'{"$bytes": ["%"]}',
        b'{"$set": [[]]}',
        b'{"$dict": []}',
        b'{"$response": [200]}',
        b'{"$response": [200, "OK", "utf-8", [["X", "a\\r\\nb"]], "", []]}',
        b'{"$response": [200, "OK", "utf-8", [], "", [["a b", "", "", {}]]]}',
    ],
    ids=lambda data: repr(data[:30]),
)
def test_anything_else_is_corrupt_and_no_pickle_is_run(data: bytes) -> None:
    with pytest.raises(CorruptValueError, match="not written by this site") as caught:
        serializer.loads(data)
    assert len(str(caught.value)) < 80  # the value is not repeated


def test_safe_text_stays_safe_and_text_stays_unsafe() -> None:
    render = engines["django"].from_string("{{ value }}").render
    assert render({"value": round_trip(mark_safe("<b>"))}) == "<b>"
    assert render({"value": round_trip("<b>")}) == "&lt;b&gt;"
    assert type(round_trip(SafeString("x"))) is SafeString


def test_a_response_keeps_what_a_browser_sees() -> None:
    response = HttpResponse("<p>☃</p>", status=201, reason="Made", headers={"X-Some": "é"})
    response.set_cookie("a", "b; c", max_age=60, secure=True, httponly=True, samesite="Lax")
    response.set_signed_cookie("signed", "value")
    response.delete_cookie("gone")
    copy = round_trip(response)
    assert type(copy) is HttpResponse
    assert (copy.status_code, copy.reason_phrase) == (201, "Made")
    assert copy.content == response.content
    assert dict(copy.items()) == dict(response.items())
    assert copy.cookies.output() == response.cookies.output()
    assert copy.serialize() == response.serialize()


@pytest.mark.parametrize(
    "response",
    [
        HttpResponse(bytes(range(256)), content_type="image/png"),
        HttpResponse("é", charset="latin-1"),
        HttpResponseNotFound(),
        JsonResponse({"a": 1}),
    ],
    ids=lambda response: type(response).__name__,
)
def test_responses_of_all_kinds(response: HttpResponse) -> None:
    copy = round_trip(response)
    assert copy.content == response.content
    assert copy.charset == response.charset
    assert (copy.status_code, dict(copy.items())) == (
        response.status_code,
        dict(response.items()),
    )


def test_a_response_without_a_type_is_given_none() -> None:
    response = HttpResponse("x")
    del response["Content-Type"]
    assert not dict(round_trip(response).items())


def test_a_template_response_is_kept_once_it_is_rendered() -> None:
    response = TemplateResponse(None, engines["django"].from_string("{{ x }}"), {"x": object()})
    with pytest.raises(ContentNotRenderedError):
        serializer.dumps(response)
    response = TemplateResponse(None, engines["django"].from_string("{{ x }}"), {"x": "<"})
    assert round_trip(response.render()).content == b"&lt;"
