"""Adds the columns of `outlast.models.Session` to Django's table of sessions."""

from typing import Any

from django.db import connections, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def missing(model: type[models.Model], connection: Any) -> list[Any]:
    """Return the fields without a column; none if the table is not in this database."""
    present = _columns(model, connection)
    return [f for f in model._meta.local_concrete_fields if present and f.column not in present]


def add(model: type[models.Model], editor: BaseDatabaseSchemaEditor) -> None:
    """Add the columns that are missing."""
    for field in missing(model, editor.connection):
        editor.add_field(model, field)


def remove(model: type[models.Model], editor: BaseDatabaseSchemaEditor) -> None:
    """Remove the columns that Django's table does not have; sessions stay."""
    present = _columns(model, editor.connection)
    for field in model._meta.local_concrete_fields:
        if field.column in present - {"session_key", "session_data", "expire_date"}:
            with editor.connection.cursor() as cursor:
                table = editor.quote_name(model._meta.db_table)
                for name, constraint in editor.connection.introspection.get_constraints(
                    cursor, model._meta.db_table
                ).items():
                    if constraint["columns"] == [field.column]:
                        cursor.execute(f"DROP INDEX {editor.quote_name(name)}")
                cursor.execute(
                    f"ALTER TABLE {table} DROP COLUMN {editor.quote_name(field.column)}"
                )


def add_after_migrate(using: str, plan: Any = (), **kwargs: Any) -> None:
    """Receive `post_migrate`: without migrations, as in `pytest --nomigrations`, add them here."""
    from outlast.models import Session

    if any(backwards and migration.app_label == "outlast" for migration, backwards in plan):
        return
    if missing(Session, connections[using]):
        with connections[using].schema_editor() as editor:
            add(Session, editor)


def _columns(model: type[models.Model], connection: Any) -> set[str]:
    table = model._meta.db_table
    with connection.cursor() as cursor:
        if table not in connection.introspection.table_names(cursor):
            return set()
        return {c.name for c in connection.introspection.get_table_description(cursor, table)}
