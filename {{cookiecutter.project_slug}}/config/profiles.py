"""The profiles: where sessions, cache entries and live messages are kept.

There is one function per profile. `DJANGO_PROFILE` selects one when the site starts; no other code
depends on it. To add a profile, add a function here and its name to `PROFILES` (and, if it needs
servers, to `SERVERS`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from environ import Env
from outlast.addresses import split_secrets

# Defaults for development, where `manage.py devredis` starts them; production has no defaults.
LOCAL_SENTINELS = ["127.0.0.1:26379", "127.0.0.1:26380", "127.0.0.1:26381"]
LOCAL_CLUSTER = [f"127.0.0.1:{port}" for port in range(7000, 7006)]


@dataclass(frozen=True)
class Profile:
    """The three settings of Django and Channels that depend on the profile."""

    session_engine: str
    caches: dict[str, dict[str, Any]]
    channel_layers: dict[str, dict[str, Any]]


def database(env: Env, var: Path, prefix: str) -> Profile:
    """Sessions and cache in the database, and with PostgreSQL also messages."""
    return Profile(
        session_engine="outlast.sessions.db",
        caches={
            "default": {
                "BACKEND": "django.core.cache.backends.db.DatabaseCache",
                "LOCATION": "site_cache",  # created by `migrate`, see outlast/apps.py
                "OPTIONS": {"MAX_ENTRIES": 10_000},  # Django's 300 evicts all the time
            }
        },
        channel_layers=_messages_by_database(env),
    )


def file(env: Env, var: Path, prefix: str) -> Profile:
    """Session data and cache in files on this machine; messages as in `database`."""
    return Profile(
        session_engine="outlast.sessions.file",
        caches={
            "default": {
                "BACKEND": "outlast.filebased.FileBasedCache",
                "LOCATION": var / "cache",
                "OPTIONS": {"MAX_ENTRIES": 2_000},  # every write lists the folder
            }
        },
        channel_layers=_messages_by_database(env),
    )


def dummy(env: Env, var: Path, prefix: str) -> Profile:
    """No cache, to find bugs that a cache hides; the rest as in `database`."""
    return Profile(
        session_engine="outlast.sessions.db",
        caches={"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}},
        channel_layers=_messages_by_database(env),
    )


def redis(env: Env, var: Path, prefix: str) -> Profile:
    """Sessions in the database with copies in Redis or Valkey; cache and messages there."""
    location, options = split_secrets(env.str("REDIS_URL", default="redis://127.0.0.1:6379/0"))
    if location.startswith("rediss:"):
        options |= _tls_files(env)
    return _on_redis(location, options, prefix)


def redis_sentinel(env: Env, var: Path, prefix: str) -> Profile:
    """Like `redis`, with several servers whose primary the Sentinels name."""
    service = env.str("REDIS_SENTINEL_SERVICE", default="") or "mymaster"
    scheme, options = _login(env)
    options["sentinels"] = _addresses(env, "REDIS_SENTINELS", LOCAL_SENTINELS)
    tls = env.bool("REDIS_SENTINEL_TLS", default=scheme == "rediss")
    options["sentinel_kwargs"] = {
        "password": env.str("REDIS_SENTINEL_PASSWORD", default="") or None,
        **({"ssl": True, **_tls_files(env)} if tls else {}),
    }
    return _on_redis(f"{scheme}://{service}/0", options, prefix)


def redis_cluster(env: Env, var: Path, prefix: str) -> Profile:
    """Like `redis`, with keys on all nodes of a Redis Cluster."""
    if "://" in (address := env.str("REDIS_CLUSTER", default="")):
        location, options = split_secrets(address, "REDIS_CLUSTER")
        if location.startswith("rediss:"):
            options |= _tls_files(env)
        return _on_redis([location], {"cluster": True, **options}, prefix)
    scheme, options = _login(env)
    nodes = _addresses(env, "REDIS_CLUSTER", LOCAL_CLUSTER)
    hosts = (f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in nodes)
    locations = [f"{scheme}://{host}" for host in hosts]
    return _on_redis(locations, {"cluster": True, **options}, prefix)


PROFILES: dict[str, Callable[[Env, Path, str], Profile]] = {
    "database": database,
    "file": file,
    "dummy": dummy,
    "redis": redis,
    "redis-sentinel": redis_sentinel,
    "redis-cluster": redis_cluster,
}

# What `devredis` and the tests start for a profile: see outlast.servers.Topology.
SERVERS: dict[str, dict[str, Any]] = {
    "redis": {"replicas": 0, "sentinels": 0},
    "redis-sentinel": {"replicas": 2, "sentinels": 3},
    "redis-cluster": {"shards": 3, "replicas": 1},
}


def load(name: str, env: Env, var: Path, prefix: str) -> Profile:
    """Return the profile `name`.

    Raise ImproperlyConfigured, with the valid names, for an unknown or empty name, and for a
    prefix that does not separate sites on one Redis.
    """
    if name not in PROFILES:
        raise ImproperlyConfigured(
            f"DJANGO_PROFILE is {repr(name) if name else 'not set'}, but must be one of "
            f"{', '.join(PROFILES)}: set it in the environment or in .env."
        )
    if not prefix or ":" in prefix:
        # Clearing the cache of "shop" would clear that of "shop:eu".
        raise ImproperlyConfigured(
            f"REDIS_PREFIX is {prefix!r}, but must be a name that no other site uses, without a "
            "colon, which ends the prefix in keys and channels."
        )
    return PROFILES[name](env, var, prefix)


def _on_redis(location: str | list[str], options: dict[str, Any], prefix: str) -> Profile:
    """Cache, copies of sessions and messages in Redis; `outlast.cache` has the options."""
    return Profile(
        session_engine="outlast.sessions.redis",
        caches={
            "default": {
                "BACKEND": "outlast.cache.RedisCache",
                "LOCATION": location,
                "KEY_PREFIX": prefix,
                "OPTIONS": options,
            }
        },
        channel_layers={
            "default": {
                "BACKEND": "outlast.channels.redis.PubSubLayer",
                "CONFIG": {"hosts": [{"address": location, **options}], "prefix": prefix},
            }
        },
    )


def _login(env: Env) -> tuple[str, dict[str, Any]]:
    """Return the scheme and the login for addresses without them."""
    tls = env.bool("REDIS_TLS", default=False)
    options = {
        "username": env.str("REDIS_USERNAME", default="") or None,
        "password": env.str("REDIS_PASSWORD", default="") or None,
        **(_tls_files(env) if tls else {}),
    }
    return ("rediss" if tls else "redis"), options


def _tls_files(env: Env) -> dict[str, str]:
    """Return redis-py's arguments for the trusted authority and the client certificate."""
    found = {}
    for variable, name in (
        ("REDIS_CA_FILE", "ssl_ca_certs"),
        ("REDIS_CERT_FILE", "ssl_certfile"),
        ("REDIS_KEY_FILE", "ssl_keyfile"),
    ):
        if path := env.str(variable, default=""):
            if not Path(path).is_file():
                raise ImproperlyConfigured(f"{variable} is {path!r}, but there is no such file.")
            found[name] = path
    return found


def _messages_by_database(env: Env) -> dict[str, dict[str, Any]]:
    """Return the layer for PostgreSQL, for all processes; or with SQLite for one process."""
    if env.db_url("DATABASE_URL", default="sqlite://")["ENGINE"].endswith("sqlite3"):
        return {"default": {"BACKEND": "outlast.channels.local.LocalLayer"}}
    listen = "listen" if "DATABASE_LISTEN_URL" in env else "default"  # see DATABASES
    return {
        "default": {
            "BACKEND": "outlast.channels.postgres.PostgresLayer",
            "CONFIG": {"listen": listen},
        }
    }


def _addresses(env: Env, variable: str, local: list[str]) -> list[tuple[str, int]]:
    """Return the addresses in the variable; with DJANGO_DEBUG=1, `local` is the default."""
    debug = env.bool("DJANGO_DEBUG", default=False)
    found = []
    for text in env.list(variable, default=local if debug else []):
        host, _, port = text.strip().rpartition(":")
        if not host or not port.isdecimal():
            raise ImproperlyConfigured(
                f"{variable} contains {text!r}, but each server must be written host:port."
            )
        found.append((host.strip("[]"), int(port)))
    if not found:
        raise ImproperlyConfigured(
            f"{variable} is empty, but this profile needs it to find Redis: set it to "
            "host:port,host:port,host:port, or choose another DJANGO_PROFILE."
        )
    return found
