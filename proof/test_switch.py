"""One generated site on every profile, by `DJANGO_PROFILE` alone."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from proof.site import TEMPLATE, Site

PROFILES = json.loads((TEMPLATE / "cookiecutter.json").read_text("utf-8"))["profile"]


@pytest.fixture(scope="module")
def site(start: Callable[[str], Any], tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A site on a machine that has all servers at once."""
    variables = start("redis").environment()
    for name in ("redis-sentinel", "redis-cluster"):
        variables |= start(name).environment()
    return Site(tmp_path_factory.mktemp("site"), "database", variables)


def knows(site: Site, session_key: str) -> bool:
    """Whether the cookie of that session is logged in."""
    with site.browser() as browser:
        browser.cookies.set("__Host-sessionid", session_key, domain="127.0.0.1")
        return browser.logged_in


def test_a_login_outlives_every_switch(site: Site) -> None:
    """A login of each profile is known on all later ones, and on the first again."""
    alive: list[str] = []
    ended = ""
    for name in [*PROFILES, PROFILES[0]]:
        site.variables["DJANGO_PROFILE"] = name
        with site.running(), site.browser() as ada, site.browser() as leaver:
            ada.log_in()
            assert ada.logged_in, f"no login on {name}"
            alive.append(ada.session_key)
            if not ended:
                leaver.log_in()
                ended = leaver.session_key
                leaver.log_out()
            assert not knows(site, ended), f"an ended session is alive on {name}"
            assert all(knows(site, key) for key in alive), f"logged out by the switch to {name}"


def test_the_database_profile_starts_without_redis_py(site: Site) -> None:
    """Importing it takes half a second where Python has not compiled it yet."""
    site.variables["DJANGO_PROFILE"] = "database"
    code = "import config.urls, sys; print('redis' in sys.modules)"
    assert site.manage("shell", "-c", code).splitlines()[-1] == "False"
