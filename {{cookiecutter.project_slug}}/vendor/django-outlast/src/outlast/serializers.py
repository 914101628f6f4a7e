"""Cache values as JSON: whoever can write to Redis must not be able to run code here.

Django's own serializer is pickle, which runs what it reads. Here text, numbers, booleans,
None, lists and mappings are plain JSON, so that a whole number is one for Redis as well
(`incr`). What JSON has no words for is a mapping of one tag to what it is made from:

    {"$date": "2026-05-01"}

What comes back equals what was stored and is of the same type. Whatever cannot come back
like that is refused when it is stored: a subclass, a model, a mapping with keys other
than text.
"""

import base64
import json
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from http.cookies import Morsel
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.http import HttpResponse
from django.http.response import ResponseHeaders
from django.utils.safestring import SafeString

PLAIN = frozenset({str, int, float, bool, type(None)})


class CorruptValueError(ValueError):
    """What Redis gave back was not written by JSONSerializer."""


class JSONSerializer:
    """Replaces `RedisSerializer` of Django: the same two methods, without pickle."""

    def dumps(self, value: Any) -> bytes:
        """Return `value` as JSON; raises TypeError for what could not come back as it was."""
        try:
            packed = pack(value)
        except RecursionError:
            raise TypeError(
                "A value that contains itself, or is nested too deeply, cannot be cached."
            ) from None
        return ENCODER.encode(packed).encode("utf-8", "surrogatepass")

    def loads(self, data: bytes) -> Any:
        """Return the value; raises CorruptValueError for anything `dumps` does not write."""
        try:
            return json.loads(data.decode("utf-8", "surrogatepass"), object_hook=unpack)
        except Exception as error:  # from outside: there is no telling what is wrong with it
            raise CorruptValueError(
                f"not written by this site ({type(error).__name__})"
            ) from error


ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def pack(value: Any) -> Any:
    """Return `value` in terms of what JSON has."""
    kind = type(value)
    if kind in PLAIN:
        return value
    if kind is list:
        return [pack(item) for item in value]
    if kind is dict:
        return pack_mapping(value)
    if kind in TAGS:
        tag, to_json = TAGS[kind]
        return {tag: to_json(value)}
    if isinstance(value, HttpResponse):  # and its subclasses: they differ in how they were made
        return {"$response": pack_response(value)}
    raise TypeError(
        f"A value of type {kind.__module__}.{kind.__qualname__} cannot be cached: the cache "
        "keeps JSON. Store the text, numbers, dates, lists or mappings it is made from."
    )


def pack_mapping(value: dict[Any, Any]) -> dict[str, Any]:
    """Return a mapping; one that looks like a tag is wrapped, to be told from a real one."""
    for key in value:
        if type(key) is not str:
            raise TypeError(
                f"A mapping with the key {key!r} cannot be cached: the cache keeps JSON, where "
                "every key is text."
            )
    packed = {key: pack(item) for key, item in value.items()}
    if is_tagged(packed):
        return {"$dict": [item for pair in packed.items() for item in pair]}
    return packed


def is_tagged(mapping: dict[str, Any]) -> bool:
    """Whether `mapping` has one key only, and that begins as a tag does."""
    return len(mapping) == 1 and next(iter(mapping)).startswith("$")


def unpack(mapping: dict[str, Any]) -> Any:
    """Return what a mapping read from JSON stands for; called from the inside out."""
    if not is_tagged(mapping):
        return mapping
    ((tag, value),) = mapping.items()
    return FROM_JSON[tag](value)


def pack_moment(value: datetime | time) -> Any:
    """Return ISO 8601; of a named zone the name, since an offset is not a zone."""
    if value.tzinfo is None or type(value.tzinfo) is timezone:
        return value.isoformat()
    if isinstance(value, datetime) and isinstance(value.tzinfo, ZoneInfo) and value.tzinfo.key:
        return [value.replace(tzinfo=None).isoformat(), value.fold, value.tzinfo.key]
    raise TypeError(
        f"A {type(value).__name__} in the time zone {value.tzinfo!r} cannot be cached: convert "
        "it to UTC, with astimezone(datetime.UTC), or to a zoneinfo.ZoneInfo."
    )


def unpack_datetime(value: Any) -> datetime:
    """Undo `pack_moment` for a date with time."""
    if isinstance(value, str):
        return datetime.fromisoformat(value)
    text, fold, zone = value
    return datetime.fromisoformat(text).replace(fold=fold, tzinfo=ZoneInfo(zone))


def pack_response(response: HttpResponse) -> list[Any]:
    """Return what a browser would get of a response; the context it was made from is left out.

    Raises ContentNotRenderedError for a template response before it is rendered.
    """
    cookies = [
        [name, cookie.value, cookie.coded_value, {k: v for k, v in cookie.items() if v != ""}]
        for name, cookie in response.cookies.items()
    ]
    return [
        response.status_code,
        response.reason_phrase,
        response.charset,
        list(map(list, response.items())),
        pack_bytes(response.content),
        pack(cookies),
    ]


def unpack_response(value: list[Any]) -> HttpResponse:
    """Undo `pack_response`; the result is a plain HttpResponse."""
    status, reason, charset, headers, content, cookies = value
    response = HttpResponse(unpack_bytes(content), status=status, reason=reason, charset=charset)
    response.headers = ResponseHeaders(dict(headers))
    for name, text, coded, attributes in cookies:
        cookie: Morsel[str] = Morsel()
        cookie.set(name, text, coded)
        cookie.update(attributes)
        response.cookies[name] = cookie
    return response


def pack_bytes(value: bytes) -> str | list[str]:
    """Return UTF-8 as text, which most bytes are, and the rest in base 64."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return [base64.b64encode(value).decode()]


def unpack_bytes(value: str | list[str]) -> bytes:
    """Undo `pack_bytes`."""
    return value.encode() if isinstance(value, str) else base64.b64decode(value[0], validate=True)


def pack_items(value: tuple[Any, ...] | set[Any] | frozenset[Any]) -> list[Any]:
    """Return the items as a list."""
    return [pack(item) for item in value]


# type: the tag, and how it is put into terms of JSON
TAGS: dict[type, tuple[str, Callable[[Any], Any]]] = {
    tuple: ("$tuple", pack_items),
    set: ("$set", pack_items),
    frozenset: ("$frozenset", pack_items),
    bytes: ("$bytes", pack_bytes),
    date: ("$date", date.isoformat),
    datetime: ("$datetime", pack_moment),
    time: ("$time", pack_moment),
    timedelta: ("$timedelta", lambda value: [value.days, value.seconds, value.microseconds]),
    Decimal: ("$decimal", str),
    UUID: ("$uuid", str),
    SafeString: ("$safe", str.__str__),  # str() of it would be safe, and so tagged, again
}

FROM_JSON: dict[str, Callable[[Any], Any]] = {
    "$dict": lambda pair: {pair[0]: pair[1]},
    "$tuple": tuple,
    "$set": set,
    "$frozenset": frozenset,
    "$bytes": unpack_bytes,
    "$date": date.fromisoformat,
    "$datetime": unpack_datetime,
    "$time": time.fromisoformat,
    "$timedelta": lambda parts: timedelta(*parts),
    "$decimal": Decimal,
    "$uuid": UUID,
    "$safe": SafeString,
    "$response": unpack_response,
}
