"""The container for development makes a site that runs, as VS Code starts it."""

import json
import os
from pathlib import Path

import pytest
import yaml

from tests.conftest import Bake, run
from tests.test_install import BASE


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="the container is a Linux")
def test_the_command_of_a_new_container(bake: Bake, tmp_path: Path) -> None:
    site = bake()
    (site.folder / ".env").unlink()  # as in a clone
    compose = yaml.safe_load(site.read(".devcontainer/compose.yml"))["services"]
    container = json.loads(site.read(".devcontainer/devcontainer.json"))
    service = compose[container["service"]]
    assert set(service["depends_on"]) == compose.keys() - {container["service"]}
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(BASE)
    variables = site.variables | service["environment"]
    variables |= {
        "PATH": f"{tmp_path / 'bin'}:{site.variables['PATH']}",
        "PIP_BREAK_SYSTEM_PACKAGES": "1",
        "PYTHONUSERBASE": str(tmp_path / "user"),
        "UV_PROJECT_ENVIRONMENT": str(tmp_path / "venv"),
    }
    done = run(["sh", "-c", container["postCreateCommand"]], site.folder, variables)
    assert done.returncode == 0, done.stdout
    python = str(tmp_path / "venv" / "bin" / "python")
    done = run([python, "manage.py", "doctor"], site.folder, variables)
    assert "all 2" in done.stdout, "the migrations are not applied"
    assert "Profile redis" in done.stdout
