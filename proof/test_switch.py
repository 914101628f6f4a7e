"""One generated site on every profile, by `DJANGO_PROFILE` alone."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from proof.site import TEMPLATE, Site

PROFILES = json.loads((TEMPLATE / "cookiecutter.json").read_text("utf-8"))["profile"]
SHARED = [name for name in PROFILES if name != "file"]  # the session rows are one table


@pytest.fixture(scope="module")
def variables(start: Callable[[str], Any]) -> dict[str, str]:
    """The variables of a machine that has all servers at once."""
    return start("redis").environment() | start("redis-sentinel").environment()


def test_a_login_outlives_every_switch(
    variables: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    site = Site(tmp_path_factory.mktemp("site"), "database", variables)
    with site.browser() as ada:
        with site.running():
            ada.log_in()
        for name in [*SHARED, *reversed(SHARED)]:
            site.variables["DJANGO_PROFILE"] = name
            with site.running(), site.browser() as newcomer:
                assert ada.logged_in, f"logged out by the switch to {name}"
                newcomer.log_in()
                assert newcomer.logged_in, f"no login on {name}"
                newcomer.log_out()
        with site.running():
            ended = ada.session_key
            ada.log_out()
        for name in SHARED:
            site.variables["DJANGO_PROFILE"] = name
            with site.running():
                ada.cookies.set("__Host-sessionid", ended, domain="127.0.0.1")
                assert not ada.logged_in, f"an ended session is alive on {name}"


def test_files_keep_sessions_of_their_own(
    variables: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    site = Site(tmp_path_factory.mktemp("site"), "database", variables)
    with site.browser() as ada:
        for name in ("file", "database", "file"):
            site.variables["DJANGO_PROFILE"] = name
            with site.running():
                ada.log_in()
                assert ada.logged_in


def test_an_unknown_profile_is_one_sentence(tmp_path_factory: pytest.TempPathFactory) -> None:
    site = Site(tmp_path_factory.mktemp("site"), "database", {})
    site.variables["DJANGO_PROFILE"] = "memcached"
    with pytest.raises(AssertionError) as error:
        site.manage("check")
    lines = str(error.value).splitlines()
    assert len(lines) == 1
    assert all(name in lines[0] for name in PROFILES)
