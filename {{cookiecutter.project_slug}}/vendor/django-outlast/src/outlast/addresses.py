"""Parse addresses of Redis, and hide secrets in messages.

redis-py is imported only when an address is read, so sites on other profiles start without it.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

HostPort = tuple[str, int]

SCHEMES = {"redis": "redis", "rediss": "rediss", "unix": "unix",
           "valkey": "redis", "valkeys": "rediss"}  # fmt: skip
# Options of Django's cache that are left out, so that cache and channel layer share a client.
DJANGO_OPTIONS = {"serializer", "pool_class", "parser_class", "driver_info"}


@dataclass(frozen=True)
class Address:
    """Where Redis is. Neither `str` nor `repr` shows a username or a password.

    `hosts`: the server, the Sentinels or some nodes of the cluster; empty for a socket.
    `service`: the name of the servers in the Sentinels, otherwise empty.
    `options`: arguments of redis-py's connections to servers, except `host` and `port`.
    `sentinel_options`: arguments of connections to Sentinels.
    """

    hosts: tuple[HostPort, ...]
    service: str = ""
    cluster: bool = False
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    sentinel_options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        hosts = ", ".join(f"[{h}]:{p}" if ":" in h else f"{h}:{p}" for h, p in self.hosts)
        if self.service:
            return f"{self.service} (Sentinels {hosts})"
        if self.cluster:
            return f"cluster {hosts}"
        return f"{hosts}/{self.options.get('db', 0)}" if hosts else str(self.options["path"])

    @property
    def tls(self) -> bool:
        """Whether connections to servers are encrypted."""
        from redis.connection import SSLConnection

        return self.options.get("connection_class") is SSLConnection

    @property
    def secrets(self) -> list[str]:
        """The passwords, to hide them in messages."""
        found = [self.options.get("password"), self.sentinel_options.get("password")]
        return [str(secret) for secret in found if secret]


def read_address(
    location: str | Sequence[str], options: Mapping[str, Any] | None = None
) -> Address:
    """Return the address in LOCATION and OPTIONS of a cache or a channel layer.

    Raise ImproperlyConfigured, without repeating the address, if it cannot be read.
    """
    from redis.connection import SSLConnection

    own = {k: v for k, v in (options or {}).items() if k not in DJANGO_OPTIONS}
    sentinels, cluster = own.pop("sentinels", None), own.pop("cluster", False)
    sentinel_options = dict(own.pop("sentinel_kwargs", None) or {})
    for each in (own, sentinel_options):
        if each.pop("ssl", False):  # an argument of redis-py's clients, not of connections
            each["connection_class"] = SSLConnection
    urls = [location] if isinstance(location, str) else list(location)
    if len(urls) != 1 and not (cluster and urls):
        raise ImproperlyConfigured(
            "LOCATION of the Redis cache must be one address: replicas lag behind, and return "
            "values that were deleted."
        )
    variable = "REDIS_CLUSTER" if cluster else "REDIS_URL"
    read = [_read_url(url, variable) for url in urls]
    connection = {**own, **read[0][1]}
    connection.pop("decode_responses", None)  # pickled values are no text
    host, port = connection.pop("host", "localhost"), connection.pop("port", 6379)
    if sentinels:
        hosts = tuple((str(host), int(port)) for host, port in sentinels)
        return Address(hosts, read[0][0], False, connection, sentinel_options)
    if cluster:
        if connection.pop("db", 0):
            raise ImproperlyConfigured(
                "The address in REDIS_CLUSTER has a database number, but a cluster has only "
                "one database: remove the number."
            )
        nodes = ((each.get("host", host), each.get("port", 6379)) for _, each in read)
        return Address(tuple(nodes), "", True, connection)
    return Address(() if "path" in connection else ((host, port),), options=connection)


def _read_url(url: str, variable: str = "REDIS_URL") -> tuple[str, dict[str, Any]]:
    """Return the host as written, and redis-py's connection arguments."""
    from redis.connection import Connection, parse_url
    from redis.exceptions import RedisError

    try:
        scheme, _, rest = url.partition("://")
        options = parse_url(f"{SCHEMES[scheme]}://{rest}")
        place = urlsplit(url)
        host = place.netloc.rpartition("@")[2]
        if place.scheme == "unix":
            misread = "@" in place.path or not place.path
        else:
            database = place.path.strip("/") or "0"
            misread = "@" in place.path + place.query or not place.hostname
            misread = misread or not database.isdecimal()
        # urlsplit drops newlines, and redis-py what follows "#".
        if misread or re.search(r"[\x00-\x1f#]", url):
            raise ValueError
        arguments = {k: v for k, v in options.items() if k != "max_connections"}
        arguments.pop("connection_class", Connection)(**arguments)  # raises for a misspelt one
    except (KeyError, RedisError, TypeError, ValueError):
        # Neither the address nor the error is shown: they may hold the password.
        raise ImproperlyConfigured(
            f"The address of Redis ({variable}) cannot be read: it must be "
            "redis://user:password@host:port/0, or begin with rediss://, valkey://, valkeys:// "
            "or unix://. In the password, / @ # ? must be written %2F %40 %23 %3F."
        ) from None
    return re.sub(r":\d*$", "", host), options


def split_secrets(url: str, variable: str = "REDIS_URL") -> tuple[str, dict[str, str]]:
    """Return the address without username and password, and these as OPTIONS of a cache.

    Django hides the option `password` on its error pages and in its mails, but no LOCATION.
    Raise ImproperlyConfigured, without repeating the address, if it cannot be read.
    """
    _, options = _read_url(url, variable)
    names = ("username", "password")
    found = {name: options[name] for name in names if options.get(name)}
    place = urlsplit(url)
    query = "&".join(
        part for part in place.query.split("&") if part.partition("=")[0] not in names
    )
    host = place.netloc.rpartition("@")[2]
    return f"{SCHEMES[place.scheme]}://{host}{place.path}" + (f"?{query}" if query else ""), found


def hide_secrets(text: str, secrets: Iterable[str]) -> str:
    """Return `text` without the secrets, plain or escaped as in an address."""
    written = {form for secret in secrets if secret
               for form in (secret, quote(secret, safe=""), unquote(secret))}  # fmt: skip
    for secret in sorted(written, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text
