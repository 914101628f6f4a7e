from typing import Any

from django.apps import AppConfig
from django.core.management import call_command
from django.db.models.signals import post_delete, post_migrate

from outlast import sessions


class BackendsConfig(AppConfig):
    """What makes a profile dependable: cache, sessions, channel layer, probes, commands."""

    name = "outlast"

    def ready(self) -> None:
        from outlast import checks  # noqa: F401, it registers them

        post_migrate.connect(create_cache_table, sender=self)
        post_delete.connect(sessions.announce, sender="outlast.Session")


def create_cache_table(using: str, verbosity: int, **kwargs: Any) -> None:
    """Create the table of the profile `database`, whichever profile is active.

    `migrate` leaves that to a command of its own that people forget, and a site that
    switches its profile by one variable must find the table there.
    """
    call_command("createcachetable", "site_cache", database=using, verbosity=verbosity - 1)
