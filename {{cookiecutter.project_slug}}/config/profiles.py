"""The profiles: where sessions, cache entries and live messages are kept.

There is one function per profile. `DJANGO_PROFILE` selects one when the site starts; no other code
depends on it. To add a profile, add a function here and its name to `PROFILES` (and, if it needs
servers, to `SERVERS`).
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from django.core.exceptions import ImproperlyConfigured
from outlast.addresses import split_secrets
from outlast.environment import POSTGRES_ENGINES, Env

# Defaults for development, where `manage.py devredis` starts them; production has no defaults.
SERVER = re.compile(r"(\[[^\]@/]+\]|[^:@/\[\]]+):\d+")  # host:port, [::1]:port
LOCAL_SENTINELS = ["127.0.0.1:26379", "127.0.0.1:26380", "127.0.0.1:26381"]
LOCAL_CLUSTER = [f"127.0.0.1:{port}" for port in range(7000, 7006)]
LOCAL_REDIS = "redis://127.0.0.1:6379/0"


class Profile(NamedTuple):
    """The engine of the sessions, the default cache and the default channel layer."""

    session_engine: str
    cache: dict[str, Any]
    channel_layer: dict[str, Any]


def database(env: Env, var: Path, prefix: str) -> Profile:
    """Sessions and cache in the database, and with PostgreSQL also messages."""
    cache = {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "site_cache",  # created by `migrate`, see outlast/apps.py
        "OPTIONS": {"MAX_ENTRIES": 10_000},  # Django's 300 evicts all the time
    }
    return Profile("outlast.sessions.db", cache, _messages_by_database(env))


def file(env: Env, var: Path, prefix: str) -> Profile:
    """Session data and cache in files on this machine; messages as in `database`."""
    cache = {
        "BACKEND": "outlast.filebased.FileBasedCache",
        "LOCATION": var / "cache",
        "OPTIONS": {"MAX_ENTRIES": 2_000},  # every write lists the folder
    }
    return Profile("outlast.sessions.file", cache, _messages_by_database(env))


def dummy(env: Env, var: Path, prefix: str) -> Profile:
    """No cache, to find bugs that a cache hides; the rest as in `database`."""
    cache = {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}
    return Profile("outlast.sessions.db", cache, _messages_by_database(env))


def redis(env: Env, var: Path, prefix: str) -> Profile:
    """Sessions in the database with copies in Redis or Valkey; cache and messages there."""
    location, login = split_secrets(env.str("REDIS_URL", default=LOCAL_REDIS))
    return _on_redis(env, location, login, prefix)


def redis_sentinel(env: Env, var: Path, prefix: str) -> Profile:
    """Like `redis`, with several servers whose primary the Sentinels name."""
    scheme, login = _login(env)
    servers = (s.rpartition(":") for s in _servers(env, "REDIS_SENTINELS", LOCAL_SENTINELS))
    tls = env.bool("REDIS_SENTINEL_TLS", default=scheme == "rediss")
    password = env.str("REDIS_SENTINEL_PASSWORD", default="") or None
    options = {
        "sentinels": [(host.strip("[]"), int(port)) for host, _, port in servers],
        "sentinel_kwargs": {"password": password, "ssl": tls, **_tls_files(env, tls)},
    }
    service = env.str("REDIS_SENTINEL_SERVICE", default="") or "mymaster"
    return _on_redis(env, f"{scheme}://{service}/0", login | options, prefix)


def redis_cluster(env: Env, var: Path, prefix: str) -> Profile:
    """Like `redis`, with keys on all nodes of a Redis Cluster."""
    scheme, login = _login(env)
    if "://" in (address := env.str("REDIS_CLUSTER", default="")):
        location, login = split_secrets(address, "REDIS_CLUSTER")  # of a managed service
        locations = [location]
    else:
        servers = _servers(env, "REDIS_CLUSTER", LOCAL_CLUSTER)
        locations = [f"{scheme}://{server}" for server in servers]
    return _on_redis(env, locations, {"cluster": True, **login}, prefix)


PROFILES: dict[str, Callable[[Env, Path, str], Profile]] = {
    "database": database,
    "file": file,
    "dummy": dummy,
    "redis": redis,
    "redis-sentinel": redis_sentinel,
    "redis-cluster": redis_cluster,
}

# What the tests start for a profile: see outlast.servers.Topology.
SERVERS: dict[str, dict[str, Any]] = {
    "redis": {},
    "redis-sentinel": {"replicas": 2, "sentinels": 3},
    "redis-cluster": {"shards": 3, "replicas": 1},
}


def load(name: str, env: Env, var: Path, prefix: str) -> Profile:
    """Return the profile `name`; raise ImproperlyConfigured for a wrong name or prefix."""
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


def _messages_by_database(env: Env) -> dict[str, Any]:
    """Return the layer of PostgreSQL, for all processes; with other databases, for one process."""
    engine = env.db_url("DATABASE_URL", default="sqlite://")["ENGINE"]
    if not engine.endswith(POSTGRES_ENGINES):
        return {"BACKEND": "outlast.channels.local.LocalLayer"}
    config = {"listen": "listen" if "DATABASE_LISTEN_URL" in env else "default"}  # see DATABASES
    return {"BACKEND": "outlast.channels.postgres.PostgresLayer", "CONFIG": config}


def _on_redis(env: Env, location: str | list[str], options: Any, prefix: str) -> Profile:
    """Cache, copies of sessions and messages in Redis; `outlast.cache` has the options."""
    options = options | _tls_files(env, "rediss://" in str(location))
    cache = {
        "BACKEND": "outlast.cache.RedisCache",
        "LOCATION": location,
        "KEY_PREFIX": prefix,
        "OPTIONS": options,
    }
    layer = {
        "BACKEND": "outlast.channels.redis.PubSubLayer",
        "CONFIG": {"hosts": [{"address": location, **options}], "prefix": prefix},
    }
    return Profile("outlast.sessions.redis", cache, layer)


def _login(env: Env) -> tuple[str, dict[str, Any]]:
    """Return the scheme and the login for servers that are written host:port."""
    names = {"username": "REDIS_USERNAME", "password": "REDIS_PASSWORD"}
    login = {option: env.str(name, default="") or None for option, name in names.items()}
    return ("rediss" if env.bool("REDIS_TLS", default=False) else "redis"), login


def _servers(env: Env, variable: str, local: list[str]) -> list[str]:
    """Return the servers in the variable; with DJANGO_DEBUG=1, `local` is the default."""
    debug = env.bool("DJANGO_DEBUG", default=False)
    servers: list[str] = env.list(variable, default=local if debug else [])
    if not servers or not all(SERVER.fullmatch(server) for server in servers):
        raise ImproperlyConfigured(  # without the value, which could contain a password
            f"{variable} must be host:port,host:port,host:port, the addresses that this profile "
            "needs; or choose another DJANGO_PROFILE. The login goes into REDIS_USERNAME and "
            "REDIS_PASSWORD."
        )
    return servers


def _tls_files(env: Env, tls: bool) -> dict[str, str]:
    """Return redis-py's arguments for the trusted authority and the client certificate."""
    found = {}
    for name, option in (("CA", "ca_certs"), ("CERT", "certfile"), ("KEY", "keyfile")):
        if tls and (path := env.str(f"REDIS_{name}_FILE", default="")):
            if not Path(path).is_file():
                raise ImproperlyConfigured(
                    f"REDIS_{name}_FILE is {path!r}, but there is no such file."
                )
            found[f"ssl_{option}"] = path
    return found
