"""An owner's app with a cache, in migrations and tests; old packages; task queues."""

from pathlib import Path

import pytest

from tests.conftest import Bake, BakedProject

MIGRATION = """
from django.core.cache import cache
from django.db import migrations


class Migration(migrations.Migration):
    operations = [migrations.RunPython(lambda apps, schema_editor: cache.set("rates", [1]))]
"""
TESTS = """
import warnings

from django.core.cache import cache
from django.test import TestCase


class RatesTest(TestCase):
    def test_a_rate_is_added_once(self):
        warnings.warn("A package uses something old.", DeprecationWarning)
        assert cache.add("rate", 1)
        assert not cache.add("rate", 2)
"""


@pytest.mark.parametrize("profile", ["database", "file"])
def test_the_cache_works_in_migrations_and_in_every_run_of_the_tests(
    bake: Bake, profile: str
) -> None:
    site = bake(profile=profile)
    site.run("manage.py", "startapp", "shop")
    settings, shop = site.folder / "config" / "settings.py", site.folder / "shop"
    settings.write_text(settings.read_text("utf-8") + '\nINSTALLED_APPS += ["shop"]\n', "utf-8")
    Path(shop, "migrations", "0001_initial.py").write_text(MIGRATION, "utf-8")
    Path(shop, "tests.py").write_text(TESTS, "utf-8")
    site.run("manage.py", "migrate")
    for _ in range(2):
        assert "1 passed" in site.run("-m", "pytest", "shop")


def test_task_queues_can_import_the_tasks_of_every_app(site: BakedProject) -> None:
    """As Celery, Huey and Dramatiq do when a worker starts."""
    program = (
        "import django; from django.utils.module_loading import autodiscover_modules; "
        "django.setup(); autodiscover_modules('tasks')"
    )
    site.run("-B", "-c", program, DJANGO_SETTINGS_MODULE="config.settings")
