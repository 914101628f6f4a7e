"""`manage.py devredis` where there is nothing to do; the rest is in tests/redis."""

from typing import Any

import pytest
from django.core.management import call_command


@pytest.mark.parametrize("arguments", [[], ["--check"]])
def test_a_profile_that_needs_no_server(
    arguments: list[str], settings: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.PROFILE = "dummy"
    call_command("devredis", *arguments)
    said = "The profile dummy needs no server: there is nothing to start.\n"
    assert capsys.readouterr().out == said
