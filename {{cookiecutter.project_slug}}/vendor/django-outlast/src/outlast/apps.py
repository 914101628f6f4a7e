from threading import current_thread, main_thread
from typing import Any

from django.apps import AppConfig, apps
from django.contrib.auth.signals import user_logged_in
from django.core.management import call_command
from django.db.backends.signals import connection_created
from django.db.models.signals import post_migrate, pre_delete, pre_migrate

from outlast.conf import conf


class OutlastConfig(AppConfig):
    """Sessions, cache, channel layers, health checks and commands."""

    name = "outlast"

    def ready(self) -> None:
        from outlast import (
            checks,  # noqa: F401, it registers them
            models,
            sessions,
        )
        from outlast.sessions import columns

        connection_created.connect(limit_statements)
        post_migrate.connect(columns.add_after_migrate, sender=self)
        pre_migrate.connect(create_cache_table, sender=self)
        user_logged_in.connect(sessions.note_password)
        for model in apps.get_models():
            if issubclass(model, models.AbstractSession):
                sessions.connect_receivers(model)
        pre_delete.connect(sessions.cascade, sender="outlast.Session")
        # Django's own model of the same table, which packages use.
        sessions.connect_receivers("sessions.Session")


def create_cache_table(using: str, verbosity: int, **kwargs: Any) -> None:
    """Create the cache table of the profile `database`, on every profile.

    Django needs a separate command for that, which is easily forgotten. A site that switches to
    the profile must find the table, and so must migrations that use the cache.
    """
    call_command("createcachetable", "site_cache", database=using, verbosity=verbosity - 1)


def limit_statements(connection: Any, **kwargs: Any) -> None:
    """Let PostgreSQL cancel statements after `DATABASE_STATEMENT_SECONDS`.

    Commands run in the main thread and are exempt: creating an index may take an hour.
    """
    seconds = conf.DATABASE_STATEMENT_SECONDS
    if seconds and connection.vendor == "postgresql" and current_thread() is not main_thread():
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, false)", [f"{seconds}s"])
