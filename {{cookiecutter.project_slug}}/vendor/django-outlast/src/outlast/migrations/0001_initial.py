"""Add the columns to `django_session`; import the sessions of cookiecutter-django-profiles 0.1."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.db import migrations, models
from outlast.models import Session
from outlast.sessions import columns

OLD_TABLE = "backends_session"
OLD_BACKEND = "apps.accounts.throttle.ThrottledBackend"


def add_columns(apps: Any, editor: Any) -> None:
    for field in columns.missing(Session, editor.connection):
        editor.add_field(Session, field)


def remove_columns(apps: Any, editor: Any) -> None:
    """Leave the columns of Django's table; sessions stay."""
    table, theirs = Session._meta.db_table, {"session_key", "session_data", "expire_date"}
    ours = {field.column for field in Session._meta.local_concrete_fields} - theirs
    with editor.connection.cursor() as cursor:
        found = editor.connection.introspection.get_constraints(cursor, table)
    for name, constraint in found.items():
        if constraint["index"] and ours.issuperset(constraint["columns"]):
            names = {"table": editor.quote_name(table), "name": editor.quote_name(name)}
            editor.execute(editor.sql_delete_index % names)
    for column in ours:
        editor.execute(f"ALTER TABLE {table} DROP COLUMN {editor.quote_name(column)}")


def move_sessions(apps: Any, editor: Any) -> None:
    """Copy the rows of the table of version 0.1 and drop it: all sessions survive.

    They have no version, so that the first request of each session reads who is logged in.
    """
    if OLD_TABLE not in editor.connection.introspection.table_names():
        return
    same = "session_key, expire_date, user_id, public_id, last_seen, address, user_agent"
    editor.execute(
        f"INSERT INTO django_session ({same}, session_data, created, authenticated) "
        f"SELECT {same}, session_data, created_at, created_at FROM {OLD_TABLE} "
        "WHERE session_key NOT IN (SELECT session_key FROM django_session)"
    )
    # Its profile `file` kept the data in a file that the row named.
    sessions = Session.objects.using(editor.connection.alias)
    for session in sessions.filter(session_data__startswith="file:"):
        path = Path(settings.SESSION_FILE_PATH or "") / session.session_data.removeprefix("file:")
        if path.is_file():
            data = path.read_text("ascii")
            sessions.filter(pk=session.pk).update(session_data=data)
    # Its authentication backend moved with `apps/accounts`: its old name is unknown.
    store = SessionStore()
    for session in sessions.filter(version=None, user__isnull=False).iterator():
        data = store.decode(session.session_data)
        if data.get(BACKEND_SESSION_KEY) == OLD_BACKEND:
            data[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
            sessions.filter(pk=session.pk).update(session_data=store.encode(data))
    editor.execute(f"DROP TABLE {OLD_TABLE}")


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("sessions", "0001_initial"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Session",
            # Django compares no fields of a model that is not managed.
            fields=[("session_key", models.CharField(max_length=40, primary_key=True))],
            options={
                "verbose_name": "session",
                "verbose_name_plural": "sessions",
                "db_table": "django_session",
                "managed": False,
            },
        ),
        # Not atomic, because MySQL cannot change tables in a transaction; other databases still do.
        migrations.RunPython(add_columns, remove_columns, atomic=False),
        migrations.RunPython(move_sessions, migrations.RunPython.noop, atomic=False),
    ]
