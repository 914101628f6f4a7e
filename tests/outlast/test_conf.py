"""The library's settings, and what its README says of them and of other limits."""

import re
import tomllib
from ast import literal_eval
from typing import Any

import pytest
from outlast import protocol
from outlast.channels.local import SEND_SECONDS
from outlast.conf import DEFAULTS, check_settings, conf
from outlast.hashers import Argon2PasswordHasher
from outlast.redis import COOLDOWN
from troubleshooting import SITE

LIBRARY = SITE / "vendor" / "django-outlast"


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
    readme = (LIBRARY / "README.md").read_text("utf-8")
    table = readme.partition("## Settings")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`[A-Z][^|]*`) \| ([^|]+) \|", table, re.MULTILINE)
    listed = {name.strip("`"): literal_eval(default.strip("`")) for name, default in rows}
    assert listed == DEFAULTS


def test_the_readme_gives_the_limits_in_the_code() -> None:
    project = tomllib.loads((LIBRARY / "pyproject.toml").read_text("utf-8"))["project"]
    (django,) = (each for each in project["dependencies"] if each.startswith("django>="))
    text = " ".join((LIBRARY / "README.md").read_text("utf-8").split())
    for sentence in (
        f"needs Python {project['requires-python'].removeprefix('>=')} and Django {django[8:11]}",
        f"raises no errors and takes at most {SEND_SECONDS} s",
        f"Redis is not used for {['', 'one', 'two'][int(COOLDOWN)]} seconds",
        f"request head takes more than {protocol.SECONDS:.0f} s",
        f"Argon2 with {Argon2PasswordHasher.memory_cost // 1024} MiB",
    ):
        assert sentence in text


def test_every_setting_is_read() -> None:
    sources = (LIBRARY / "src").rglob("*.py")
    code = "".join(path.read_text("utf-8") for path in sources)
    assert [name for name in DEFAULTS if f"conf.{name}" not in code] == []
