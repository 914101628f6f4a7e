import re
from ast import literal_eval
from typing import Any

import pytest
from outlast.conf import DEFAULTS, check_settings, conf
from troubleshooting import SITE


def test_a_default_and_a_value(settings: Any) -> None:
    assert DEFAULTS["SESSION_IDLE_SECONDS"] == conf.SESSION_IDLE_SECONDS
    settings.OUTLAST = {"SESSION_IDLE_SECONDS": 60}
    assert conf.SESSION_IDLE_SECONDS == 60


def test_a_name_that_is_not_declared() -> None:
    with pytest.raises(AttributeError, match="no setting PAGE_THREAD"):
        _ = conf.PAGE_THREAD


def test_the_check_refuses_a_misspelt_name_and_a_wrong_type(settings: Any) -> None:
    assert not list(check_settings())
    settings.OUTLAST = {"SESSION_IDEL_SECONDS": 60, "SESSION_ABSOLUTE_SECONDS": "1h"}
    misspelt, wrong = check_settings()
    assert misspelt.hint == "Did you mean SESSION_IDLE_SECONDS?"
    assert "must be of type int" in wrong.msg


def test_the_readme_lists_every_setting_with_its_default() -> None:
    readme = (SITE / "vendor" / "django-outlast" / "README.md").read_text("utf-8")
    table = readme.partition("## Settings")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`[A-Z][^|]*`) \| ([^|]+) \|", table, re.MULTILINE)
    listed = {name.strip("`"): literal_eval(default.strip("`")) for name, default in rows}
    assert listed == DEFAULTS


def test_every_setting_is_read() -> None:
    sources = (SITE / "vendor" / "django-outlast" / "src").rglob("*.py")
    code = "".join(path.read_text("utf-8") for path in sources)
    assert [name for name in DEFAULTS if f"conf.{name}" not in code] == []
