from typing import Any

import pytest
from outlast.conf import DEFAULTS, check_settings, conf


def test_a_default_and_a_value(settings: Any) -> None:
    assert DEFAULTS["SESSION_IDLE_SECONDS"] == conf.SESSION_IDLE_SECONDS
    settings.OUTLAST = {"SESSION_IDLE_SECONDS": 60}
    assert conf.SESSION_IDLE_SECONDS == 60


def test_a_name_that_is_not_declared() -> None:
    with pytest.raises(AttributeError, match="no setting PAGE_THREAD"):
        _ = conf.PAGE_THREAD


def test_the_check_refuses_a_misspelt_name_and_a_wrong_type(settings: Any) -> None:
    assert check_settings() == []
    settings.OUTLAST = {"SESSION_IDEL_SECONDS": 60, "SESSION_ABSOLUTE_SECONDS": "1h"}
    misspelt, wrong = check_settings()
    assert misspelt.hint == "Did you mean SESSION_IDLE_SECONDS?"
    assert "must be of type int" in wrong.msg
