"""The statements of a request: one query for the session and its user, one for `last_seen`.

Django makes two queries, and the ORM compiles their SQL each time, which takes longer than running
it. Here the ORM compiles one query once.
"""

from functools import cache
from typing import Any, NamedTuple

from django.contrib.auth import get_user_model
from django.db import connections, models, router, transaction

from outlast.models import AbstractSession

# Only pages that show them need these, and `session_data` only where the engine says so.
DEFERRED = ["address", "user_agent"]


class _Statement(NamedTuple):
    sql: str
    converters: list[tuple[int, Any, Any]]
    fields: list[str]  # of the session
    user_fields: list[str]


def find(model: type[AbstractSession], key: str, using: str, with_data: bool) -> tuple[Any, Any]:
    """Return the row of the session `key` and its user; None for each that is missing."""
    statement = _statement(model, using, with_data)
    connection = connections[using]
    with connection.cursor() as cursor:
        cursor.execute(statement.sql, [key])
        row = cursor.fetchone()
    if row is None:
        return None, None
    values = list(row)
    for position, functions, expression in statement.converters:
        for convert in functions:
            values[position] = convert(values[position], expression, connection)
    session = model.from_db(using, statement.fields, values[: len(statement.fields)])
    if all(value is None for value in row[len(statement.fields) :]):
        return session, None
    user_values = values[len(statement.fields) :]
    return session, get_user_model().from_db(using, statement.user_fields, user_values)


@cache
def _statement(model: type[AbstractSession], using: str, with_data: bool) -> _Statement:
    rows = model._base_manager.using(using).filter(pk="")
    rows = rows.defer(*DEFERRED, *([] if with_data else ["session_data"]))
    if _joins_user(using):
        rows = rows.select_related("user")
    # A connection of its own, never opened: that of a thread must not be kept here. The
    # attributes of the compiler are read as Django 5.2 and 6.1 have them, like ModelIterable.
    compiler = rows.query.get_compiler(connection=connections.create_connection(using))
    sql, _params = compiler.as_sql()
    columns = [column for column, _sql, _alias in compiler.select]
    names = [column.target.attname for column in columns]
    known = compiler.klass_info["select_fields"]
    return _Statement(
        sql,
        [(i, *found) for i, found in compiler.get_converters(columns).items()],
        names[: len(known)],
        names[len(known) :],
    )


def _joins_user(using: str) -> bool:
    """Return whether Django would read the user from this database, without conditions.

    Otherwise the query leaves the user out, and the authentication backend loads it.
    """
    user = get_user_model()
    plain = type(user._default_manager).get_queryset is models.Manager.get_queryset
    return plain and router.db_for_write(user) == using


def update_unless_locked(rows: models.QuerySet[Any], key: str, values: dict[str, Any]) -> None:
    """Update the row `key`, if it is among the rows; if it is locked, do nothing or raise."""
    connection = connections[rows.db]
    if connection.vendor == "postgresql":
        table = connection.ops.quote_name(rows.model._meta.db_table)
        free = rows.select_for_update(skip_locked=True).filter(pk=key)
        with transaction.atomic(rows.db), connection.cursor() as cursor:
            cursor.execute(f"LOCK TABLE {table} IN ROW EXCLUSIVE MODE NOWAIT")
            rows.filter(pk__in=free.values("pk")).update(**values)
    elif connection.vendor == "sqlite":
        connection.ensure_connection()
        database = connection.connection  # not by Django's cursor: this is no query of the page
        (timeout,) = database.execute("PRAGMA busy_timeout").fetchone()
        database.execute("PRAGMA busy_timeout = 0").close()
        try:
            rows.filter(pk=key).update(**values)
        finally:
            database.execute(f"PRAGMA busy_timeout = {timeout}").close()
    else:
        rows.filter(pk=key).update(**values)
