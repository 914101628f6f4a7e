"""Explain errors of Redis and of the database with the table in errors.toml."""

import platform
import re
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import Error as DatabaseError

from outlast.addresses import Address, hide_secrets, read_address

TABLE: dict[str, Any] = tomllib.loads(Path(__file__).with_name("errors.toml").read_text("utf-8"))
OTHER = {"mysql": ("MySQL", 3306), "oracle": ("Oracle", 1521)}  # databases, not in the table
LOOPBACK = {"localhost", "127.0.0.1", "::1", ""}


@dataclass(frozen=True)
class Service:
    """The names of a service in sentences.

    `kind`: "redis", "sentinel", "database", or "" for one that the table does not know.
    """

    kind: str
    name: str
    place: str
    host: str = ""
    port: int = 0
    variable: str = ""

    def explain(self, error: BaseException) -> tuple[str, ...]:
        """Return a sentence on `error`, then remedies of one line each."""
        words, here = _words(error), self.host in LOOPBACK
        for entry in TABLE.get("redis" if self.kind == "sentinel" else self.kind, ()):
            if entry.get("loopback") and not here:
                continue
            if re.search(entry["match"], words, re.IGNORECASE):
                break
        else:
            text = hide_secrets(words, _secrets())
            return (f"{self.name} at {self.place} reports an error: {text}.",)
        it = f"{self.name} at {self.place}"
        names = {"who": self.name, "at": self.place, "it": it, "variable": self.variable}
        lines = [entry["sentence"].format(**names)]
        for remedy in entry["remedies"]:
            start = remedy == "START"
            lines += self._ways_to_start() if start else [remedy.format(**names)]
        return tuple(line[0].upper() + line[1:] for line in lines)

    def _ways_to_start(self) -> list[str]:
        ways = TABLE["start"][self.kind]
        install = (text for tool, text in TABLE["install"].items() if shutil.which(tool))
        names = {"host": self.host, "port": self.port, "install": next(install, "install valkey")}
        where = platform.system() if self.host in LOOPBACK else "remote"
        return [way.format(**names) for way in ways.get(where, ways["Linux"]) + ways["all"]]


def explain(error: BaseException) -> tuple[str, ...]:
    """Return a sentence on `error`, then remedies of one line each. No password is in them."""
    if isinstance(error, ImproperlyConfigured):
        return (str(error),)
    if isinstance(error, DatabaseError):
        return database_service().explain(error)
    if type(error).__module__.startswith(("redis.", "outlast.redis")):
        return redis_service(_redis_address_or_none()).explain(error)
    if isinstance(error, OSError) and error.filename:
        sentence = f"{error.filename} cannot be written: {error.strerror}."
        return (sentence, "Make it writable for the user that runs the site, and free disk space")
    return (f"{hide_secrets(_words(error), _secrets())}.", "See docs/troubleshooting.md")


def read_redis_address() -> Address:
    """Return the Redis address of the default cache; raise ImproperlyConfigured."""
    cache = settings.CACHES["default"]
    return read_address(cache.get("LOCATION", ""), cache.get("OPTIONS", {}))


def _redis_address_or_none() -> Address | None:
    try:
        return read_redis_address()
    except ImproperlyConfigured:
        return None


def redis_service(address: Address | None) -> Service:
    """Return the names of the Redis at `address`, or general names without an address."""
    if not address:
        return Service("redis", "Redis", "its address", "", 6379, "its address")
    if not address.hosts:
        return Service("redis", "Redis", str(address.options["path"]), variable="REDIS_URL")
    place = ", ".join(f"{host}:{port}" for host, port in address.hosts)
    kind, name, variable = "redis", "Redis", "REDIS_URL"
    if address.service:
        kind, name, variable = "sentinel", "Redis behind Sentinel", "REDIS_PASSWORD"
    elif address.cluster:
        name, variable = "the Redis Cluster", "REDIS_CLUSTER"
    return Service(kind, name, place, *address.hosts[0], variable)


def database_service() -> Service:
    """Return the names of the database."""
    config = settings.DATABASES["default"]
    if config["ENGINE"].endswith("sqlite3"):
        return Service("database", "SQLite", str(config["NAME"]), variable="DATABASE_URL")
    kind, name, port = "database", "PostgreSQL", 5432
    if other := OTHER.get(config["ENGINE"].rpartition(".")[2]):
        kind, (name, port) = "", other
    place = f"{config['HOST'] or 'localhost'}:{config['PORT'] or port}/{config['NAME']}"
    return Service(kind, name, place, config["HOST"], port, "DATABASE_URL")


def _words(error: BaseException) -> str:
    """Return the classes and texts of an error and of its cause."""
    chain = [error, error.__cause__ or error.__context__]
    texts = [f"{type(each).__name__}: {each}".strip().rstrip(".:") for each in chain if each]
    return "; ".join(dict.fromkeys(texts))


def _secrets() -> list[str]:
    address = _redis_address_or_none()
    found = [settings.SECRET_KEY, settings.DATABASES["default"].get("PASSWORD", "")]
    return found + (address.secrets if address else [])
