"""One generated site on every profile, by `DJANGO_PROFILE` alone."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from proof.site import TEMPLATE, Site

PROFILES = json.loads((TEMPLATE / "cookiecutter.json").read_text("utf-8"))["profile"]
SHARED = [name for name in PROFILES if name != "file"]  # the session rows are one table


@pytest.fixture(scope="module")
def site(start: Callable[[str], Any], tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A site on a machine that has all servers at once."""
    variables = start("redis").environment() | start("redis-sentinel").environment()
    return Site(tmp_path_factory.mktemp("site"), "database", variables)


def test_a_login_outlives_every_switch(site: Site) -> None:
    with site.browser() as ada, site.browser() as ended:
        for name in [*SHARED, "database"]:
            site.variables["DJANGO_PROFILE"] = name
            with site.running(), site.browser() as newcomer:
                if not ada.cookies:
                    ada.log_in()
                    ended.log_in()
                    cookie = ended.session_key
                    ended.log_out()
                ended.cookies.set("__Host-sessionid", cookie, domain="127.0.0.1")
                assert not ended.logged_in, f"an ended session is alive on {name}"
                assert ada.logged_in, f"logged out by the switch to {name}"
                newcomer.log_in()
                assert newcomer.logged_in, f"no login on {name}"
                newcomer.log_out()


def test_files_keep_sessions_of_their_own(site: Site) -> None:
    with site.browser() as ada:
        for name in ("file", "database", "file"):
            site.variables["DJANGO_PROFILE"] = name
            with site.running():
                assert not ada.logged_in
                ada.log_in()
                assert ada.logged_in


def test_an_unknown_profile_is_one_sentence(site: Site) -> None:
    site.variables["DJANGO_PROFILE"] = "memcached"
    with pytest.raises(AssertionError) as error:
        site.manage("check")
    lines = str(error.value).splitlines()
    assert len(lines) == 1
    assert all(name in lines[0] for name in PROFILES)
