"""Static files in production, and the check that they were collected."""

from pathlib import Path
from typing import Any

import pytest
from django.contrib.staticfiles.storage import staticfiles_storage
from django.core.checks import run_checks
from django.core.management import call_command

pytestmark = pytest.mark.any_profile


@pytest.fixture
def production(settings: Any, tmp_path: Path) -> Path:
    """A folder of static files, served as in production; nothing is collected yet."""
    files = tmp_path / "files"
    files.mkdir()
    (files / "new.css").write_text("p { color: red }\n/*# sourceMappingURL=new.css.map */\n")
    (files / "new.js").write_text('// import a from "./a";\n//# sourceMappingURL=new.js.map\n')
    settings.STATICFILES_FINDERS = settings.STATICFILES_FINDERS[:1]  # without the admin's
    settings.STATICFILES_DIRS = [*settings.STATICFILES_DIRS, files]
    settings.STATIC_ROOT = tmp_path / "static"
    settings.STORAGES = settings.STORAGES | {
        "staticfiles": {"BACKEND": "outlast.static.StaticFilesStorage"}
    }
    return files


def errors() -> list[str]:
    found = run_checks(include_deployment_checks=True)
    return [f"{error.msg} {error.hint}" for error in found if error.id == "outlast.E005"]


def test_a_forgotten_collectstatic_is_reported(production: Path) -> None:
    (error,) = errors()
    assert "static files are not collected" in error
    assert error.endswith("Run: python manage.py collectstatic --noinput")
    call_command("collectstatic", interactive=False, verbosity=0)
    assert not errors()
    assert staticfiles_storage.url("new.css").startswith("/static/new.")
    collected = Path(staticfiles_storage.path(staticfiles_storage.stored_name("new.css")))
    assert "sourceMappingURL=new.css.map" in collected.read_text()
