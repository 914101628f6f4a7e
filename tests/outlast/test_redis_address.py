"""The parser of Redis addresses, whose errors never contain the address."""

import itertools
import re
import string
import traceback
from urllib.parse import quote, unquote

import pytest
from caches import make_cache_at
from django.core.exceptions import ImproperlyConfigured
from outlast.addresses import hide_secrets, read_address, split_secrets
from outlast.cache import RedisCache

SENTENCE = r"REDIS_URL\) cannot be read: it must be redis://"


@pytest.mark.parametrize(
    ("url", "hosts", "shown", "tls"),
    [
        ("redis://h", (("h", 6379),), "h:6379/0", False),
        ("redis://h:1/3", (("h", 1),), "h:1/3", False),
        ("redis://h:/", (("h", 6379),), "h:6379/0", False),
        ("redis://user:p%40ss@h:1/2?socket_timeout=1", (("h", 1),), "h:1/2", False),
        ("rediss://h:1/0", (("h", 1),), "h:1/0", True),
        ("valkey://h:1/0", (("h", 1),), "h:1/0", False),
        ("valkeys://:x@h:1", (("h", 1),), "h:1/0", True),
        ("redis://[::1]:7/0", (("::1", 7),), "[::1]:7/0", False),
        ("redis://[::1]", (("::1", 6379),), "[::1]:6379/0", False),
        ("unix:///run/r.sock?db=3", (), "/run/r.sock", False),
        ("unix://:secret@/run/r.sock", (), "/run/r.sock", False),
    ],
)
def test_reads_every_kind(url: str, hosts: object, shown: str, tls: bool) -> None:
    address = read_address(url)
    assert (address.hosts, str(address), address.tls) == (hosts, shown, tls)


def test_an_option_for_text_is_ignored() -> None:
    """Other programs may share the address."""
    assert read_address("redis://h?decode_responses=true").options == {}


def test_reads_sentinels_and_clusters() -> None:
    options = {"sentinels": [("a", 1), ("b", "2")], "sentinel_kwargs": {"password": "s1"}}
    address = read_address("rediss://u:s2@MyMaster/3", options)
    assert (address.service, address.hosts, address.tls) == (
        "MyMaster",
        (("a", 1), ("b", 2)),
        True,
    )
    assert address.options["db"] == 3
    assert str(address) == "MyMaster (Sentinels a:1, b:2)"
    assert address.secrets == ["s2", "s1"]
    assert not {"s1", "s2"} & set(repr(address).replace("'", " ").split())
    cluster = read_address(["redis://a:1", "redis://b:2"], {"cluster": True, "password": "p"})
    assert (cluster.hosts, cluster.cluster) == ((("a", 1), ("b", 2)), True)


@pytest.mark.parametrize("servers", [[], ["redis://127.0.0.1:1", "redis://127.0.0.1:2"]])
def test_replicas_are_not_read(servers: list[str]) -> None:
    with pytest.raises(ImproperlyConfigured, match="must be one address"):
        RedisCache(servers, {}).get("k")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "s3cret",
        "127.0.0.1:6379",
        "http://:s3cret@127.0.0.1",
        "redis://",
        "redis:///0",
        "redis://:s3cret@/0",
        "redis://:s3c#ret@127.0.0.1/0",
        "redis://:s3cret/@127.0.0.1:6379/0",
        "redis://:12/s3cret@127.0.0.1:6379/0",
        "redis://user:12/s3cret@127.0.0.1:6379/0",
        "redis://user:12?s3cret@127.0.0.1:6379/0",
        "redis://:s3cret#@127.0.0.1:6379/0",
        "redis://:12?s3cret@127.0.0.1:6379/0",
        "redis://:p@s3cret#w/rd@host/0",
        "redis://:s3\ncret@127.0.0.1/0",
        "redis://127.0.0.1:s3cret/0",
        "redis://127.0.0.1/s3cret",
        "redis://127.0.0.1/1/2",
        "redis://127.0.0.1:99999/0",
        "redis://::1/0",
        "redis://[::1/0",
        "redis://127.0.0.1/0?s3cret=1",
        "redis://127.0.0.1/0?db=s3cret",
        "rediss://:s3cret@127.0.0.1/0?ssl_cert_reqs=CERT_NONE",
        "unix://",
        "unix://:12/s3cret@/run/redis.sock",
        "unix:///run/redis.sock?password=12&s3cret=1",
        "unix:///run/redis.sock?password=12#s3cret",
    ],
)
def test_what_cannot_be_read_is_refused_without_repeating_it(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ImproperlyConfigured, match=SENTENCE) as caught:
        make_cache_at(url).get("k")
    said = "".join(traceback.format_exception(caught.value)) + caplog.text
    for part in ("s3c", "cret", "12", "w/rd"):
        assert part not in re.sub(r"line \d+", "", said)
    assert caught.value.__cause__ is None


PASSWORDS = [
    "".join(pair) for pair in itertools.product("aZ", string.punctuation + " é€\t", "x1")
] + ["%41", "100%", "a%2Fb", "p@ss#w/rd", "@@", "://", "[::1]"]


@pytest.mark.parametrize("scheme", ["redis", "rediss", "valkey", "unix"])
def test_every_password_is_read_if_it_is_escaped(scheme: str) -> None:
    for password in PASSWORDS:
        host = "/run/r.sock" if scheme == "unix" else "host:1/2"
        url = f"{scheme}://:{quote(password, safe='')}@{host}"
        assert read_address(url).options["password"] == password
        location, found = split_secrets(url)
        assert found == {"password": password}
        assert location == f"{scheme.replace('valkey', 'redis')}://{host}"
        assert read_address(location, found).options["password"] == password


def test_a_password_that_is_not_escaped_is_read_whole_or_refused_and_never_shown() -> None:
    for password in PASSWORDS:
        url = f"redis://user:{password}@host:1/2"
        try:
            address = read_address(url)
        except ImproperlyConfigured as error:
            said = "".join(traceback.format_exception(error))
            assert password not in said.replace("redis://user:password@host:port/0", "") or (
                password in "://"  # of the example
            )
        else:
            assert address.hosts == (("host", 1),)
            assert address.options["password"] == unquote(password)
            assert password not in str(address) + repr(address)


def test_secrets_are_struck_out_in_every_form() -> None:
    secret = "p@ss w/rd%"
    for form in (secret, quote(secret, safe=""), "p@ss w/rd%25"):
        assert "p" not in hide_secrets(f"<{form}>", [secret, "", "p@ss w/rd%25"])


def test_the_nodes_of_a_cluster() -> None:
    address = read_address(["rediss://u:p@one:1/0", "rediss://u:p@[::1]:2"], {"cluster": True})
    assert str(address) == "cluster one:1, [::1]:2"
    assert address.tls and address.options["password"] == "p"
    with pytest.raises(ImproperlyConfigured, match=r"REDIS_CLUSTER\) cannot be read"):
        read_address(["redis://one:port"], {"cluster": True})
    with pytest.raises(ImproperlyConfigured, match="only one database"):
        read_address(["redis://one/3"], {"cluster": True})
