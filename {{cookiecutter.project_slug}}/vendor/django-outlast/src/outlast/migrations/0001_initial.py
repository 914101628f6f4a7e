"""Add the columns to `django_session`; import the sessions of cookiecutter-django-profiles 0.1."""

from pathlib import Path
from typing import Any

import django.db.models.deletion
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.db import migrations, models
from outlast.sessions import columns

FIRST_EDITION = "backends_session"
FIRST_BACKEND = "apps.accounts.throttle.ThrottledBackend"


def add_columns(apps: Any, editor: Any) -> None:
    model = apps.get_model("outlast", "Session")
    for field in columns.missing(model, editor.connection):
        editor.add_field(model, field)


def move_sessions(apps: Any, editor: Any) -> None:
    """Copy the rows of the first edition's table and drop it: all sessions survive.

    They have no version, so that the first request of each session reads who is logged in.
    """
    if FIRST_EDITION not in editor.connection.introspection.table_names():
        return
    same = "session_key, expire_date, user_id, public_id, last_seen, address, user_agent"
    editor.execute(
        f"INSERT INTO django_session ({same}, session_data, created, authenticated) "
        f"SELECT {same}, session_data, created_at, created_at FROM {FIRST_EDITION} "
        "WHERE session_key NOT IN (SELECT session_key FROM django_session)"
    )
    # Its profile `file` kept the data in a file that the row named.
    sessions = apps.get_model("outlast", "Session").objects.using(editor.connection.alias)
    for session in sessions.filter(session_data__startswith="file:"):
        path = Path(settings.SESSION_FILE_PATH or "") / session.session_data.removeprefix("file:")
        if path.is_file():
            data = path.read_text("ascii")
            sessions.filter(pk=session.pk).update(session_data=data)
    # Its authentication backend moved with `apps/accounts`: its old name is unknown.
    store = SessionStore()
    for session in sessions.filter(version=None, user__isnull=False).iterator():
        data = store.decode(session.session_data)
        if data.get(BACKEND_SESSION_KEY) == FIRST_BACKEND:
            data[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
            sessions.filter(pk=session.pk).update(session_data=store.encode(data))
    editor.execute(f"DROP TABLE {FIRST_EDITION}")


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("sessions", "0001_initial"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Session",
            fields=[
                ("session_key", models.CharField(max_length=40, primary_key=True, serialize=False, verbose_name="session key")),
                ("session_data", models.TextField(verbose_name="session data")),
                ("expire_date", models.DateTimeField(db_index=True, verbose_name="expire date")),
                ("backend", models.TextField(editable=False, null=True, verbose_name="authentication backend")),
                ("auth_hash", models.TextField(editable=False, null=True, verbose_name="authentication hash")),
                ("version", models.CharField(editable=False, max_length=40, null=True, verbose_name="version")),
                ("public_id", models.UUIDField(db_index=True, editable=False, help_text="Identifies the session in addresses and messages, instead of its key.", null=True, verbose_name="public id")),
                ("created", models.DateTimeField(null=True, verbose_name="created")),
                ("authenticated", models.DateTimeField(null=True, verbose_name="password given")),
                ("last_seen", models.DateTimeField(null=True, verbose_name="last seen")),
                ("address", models.GenericIPAddressField(null=True, unpack_ipv4=True, verbose_name="address")),
                ("user_agent", models.CharField(max_length=300, null=True, verbose_name="browser")),
                ("user", models.ForeignKey(db_constraint=False, null=True, on_delete=django.db.models.deletion.CASCADE, related_name="+", to=settings.AUTH_USER_MODEL, verbose_name="user")),
            ],
            options={
                "verbose_name": "session",
                "verbose_name_plural": "sessions",
                "db_table": "django_session",
                "managed": False,
                "abstract": False,
            },
        ),
        migrations.RunPython(add_columns, migrations.RunPython.noop),
        migrations.RunPython(move_sessions, migrations.RunPython.noop),
    ]
