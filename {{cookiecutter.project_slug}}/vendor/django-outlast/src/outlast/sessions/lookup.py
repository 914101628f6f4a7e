"""The one query of a request: the session, whether a copy of it still holds, and its user.

Django asks twice, through the ORM. The ORM writes SQL anew each time, which costs more
than to run it here; and a database two milliseconds away costs that for every question.
"""

from collections.abc import Callable
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import connections, models
from django.utils import timezone

from outlast.models import Session, bounds

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser as User


class Found(NamedTuple):
    """A session that is alive."""

    data: str | None  # encoded; None: the version asked about is the row's
    unseen: bool  # `last_seen` is due to be written
    user: "User | None"


class _Statement(NamedTuple):
    sql: str
    columns: dict[str, str]
    user_fields: list[str]
    converters: list[tuple[int, Any, list[Callable[..., Any]]]]


def find(session_key: str | None, version: str, using: str) -> Found | None:
    """Return the session `session_key` of the database `using`, if it is alive.

    Its data is left out, and not even read, where its version is `version`.
    """
    statement = _statement(using)
    connection = connections[using]
    adapt = connection.ops.adapt_datetimefield_value
    moments = bounds()
    alive = "".join(f" AND {statement.columns[name]} > %s" for name in moments)
    params = [version, adapt(timezone.now() - last_seen_interval()), session_key]
    with connection.cursor() as cursor:
        cursor.execute(statement.sql + alive, [*params, *map(adapt, moments.values())])
        row = cursor.fetchone()
    if row is None:
        return None
    data, unseen, *values = row
    return Found(data, bool(unseen), _user(statement, values, using))


def last_seen_interval() -> timedelta:
    """How long a session is used before `last_seen` is written again.

    At most a tenth of the idle time-out, which therefore errs by no more than that.
    """
    seconds: float = settings.SESSION_LAST_SEEN_SECONDS
    if settings.SESSION_IDLE_SECONDS:
        seconds = min(seconds, settings.SESSION_IDLE_SECONDS / 10)
    return timedelta(seconds=seconds)


@cache
def _statement(using: str) -> _Statement:
    """What does not change from one request to the next."""
    # A connection of its own, never opened: that of a thread must not be kept here.
    connection = connections.create_connection(using)
    quote = connection.ops.quote_name

    def quoted(field: models.Field) -> str:
        return quote(str(field.column))  # concrete fields have one

    s = {field.attname: f"s.{quoted(field)}" for field in Session._meta.concrete_fields}
    user = get_user_model()
    fields = user._meta.concrete_fields if _loads_plainly(user) else ()
    select = [
        f"CASE WHEN {s['version']} = %s THEN NULL ELSE {s['session_data']} END",
        f"{s['last_seen']} < %s",
        *(f"u.{quoted(field)}" for field in fields),
    ]
    columns = [field.get_col("u") for field in fields]
    converters = [
        connection.ops.get_db_converters(column) + column.get_db_converters(connection)
        for column in columns
    ]
    return _Statement(
        sql=f"SELECT {', '.join(select)} FROM {quote(Session._meta.db_table)} s"  # noqa: S608
        f" LEFT JOIN {quote(user._meta.db_table)} u"
        f" ON u.{quoted(user._meta.pk)} = {s['user_id']}"
        f" WHERE {s['session_key']} = %s",
        columns=s,
        user_fields=[field.attname for field in fields],
        converters=[(i, columns[i], found) for i, found in enumerate(converters) if found],
    )


def _loads_plainly(user: type[models.Model]) -> bool:
    """Whether Django would read this user from one table, without any condition.

    Otherwise the query leaves the user out, and Django loads it in its own way.
    """
    manager = type(user._default_manager)
    return manager.get_queryset is models.Manager.get_queryset and not user._meta.parents


def _user(statement: _Statement, values: list[Any], using: str) -> "User | None":
    """Make the user from its row, as the ORM does."""
    connection = connections[using]
    for position, column, functions in statement.converters:
        for convert in functions:
            values[position] = convert(values[position], column, connection)
    user = get_user_model()
    fields = statement.user_fields
    primary_key = user._meta.pk.attname
    if not fields or values[fields.index(primary_key)] is None:
        return None
    return user.from_db(using, fields, values)
