"""Adds the columns of `outlast.models.Session` to Django's table of sessions."""

from typing import Any

from django.db import connections, models


def missing(model: type[models.Model], connection: Any) -> list[Any]:
    """Return the fields without a column; none if the table is not in this database."""
    table, introspection = model._meta.db_table, connection.introspection
    with connection.cursor() as cursor:
        if table not in introspection.table_names(cursor):
            return []
        present = {column.name for column in introspection.get_table_description(cursor, table)}
    return [f for f in model._meta.local_concrete_fields if f.column not in present]


def add_after_migrate(using: str, plan: Any = (), **kwargs: Any) -> None:
    """Receive `post_migrate`: without migrations, as in `pytest --nomigrations`, add them here."""
    from outlast.models import Session

    if any(backwards and migration.app_label == "outlast" for migration, backwards in plan):
        return
    if fields := missing(Session, connections[using]):
        with connections[using].schema_editor() as editor:
            for field in fields:
                editor.add_field(Session, field)
