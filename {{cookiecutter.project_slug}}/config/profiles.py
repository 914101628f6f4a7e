"""The profiles: where sessions, cache entries and channel messages live.

One function per profile, side by side. `DJANGO_PROFILE` picks one when the site
starts; nothing else in the code asks which one it is. Adding a profile is adding a
function here and its name to `PROFILES` (and, if it needs servers, to `SERVERS`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from environ import Env
from outlast.redis import split_secrets

LOCAL_SENTINELS = ["127.0.0.1:26379", "127.0.0.1:26380", "127.0.0.1:26381"]


@dataclass(frozen=True)
class Profile:
    """The three settings of Django and Channels that a profile decides."""

    session_engine: str
    caches: dict[str, dict[str, Any]]
    channel_layers: dict[str, dict[str, Any]]


def database(env: Env, var: Path, prefix: str) -> Profile:
    """Sessions, cache and, if it is PostgreSQL, messages in the relational database."""
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
    """Sessions and cache in files of this machine; messages as in `database`."""
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
    """Nothing is cached, to see the site without; the rest as in `database`."""
    return Profile(
        session_engine="outlast.sessions.db",
        caches={"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}},
        channel_layers=_messages_by_database(env),
    )


def redis(env: Env, var: Path, prefix: str) -> Profile:
    """One Redis or Valkey at `REDIS_URL` makes it faster; the database holds the truth."""
    location, options = split_secrets(env.str("REDIS_URL", default="redis://127.0.0.1:6379/0"))
    if location.startswith("rediss:"):
        options |= _tls_files(env)
    return _on_redis(location, options, prefix)


def redis_sentinel(env: Env, var: Path, prefix: str) -> Profile:
    """As `redis`, with the primary found, and found again, by asking Sentinels."""
    service = env.str("REDIS_SENTINEL_SERVICE", default="") or "mymaster"
    # While developing, where `manage.py devredis` starts them; never guessed in production.
    local = LOCAL_SENTINELS if env.bool("DJANGO_DEBUG", default=False) else []
    sentinels = [_address(item) for item in env.list("REDIS_SENTINELS", default=local)]
    if not sentinels:
        raise ImproperlyConfigured(
            "REDIS_SENTINELS is empty, but the profile redis-sentinel asks Sentinels for the "
            "primary: set it to host:port,host:port,host:port, or choose another DJANGO_PROFILE."
        )
    tls = env.bool("REDIS_TLS", default=False)
    sentinel_options: dict[str, Any] = {
        "password": env.str("REDIS_SENTINEL_PASSWORD", default="") or None
    }
    if env.bool("REDIS_SENTINEL_TLS", default=tls):
        sentinel_options |= {"ssl": True, **_tls_files(env)}
    options = {
        "sentinels": sentinels,
        "sentinel_kwargs": sentinel_options,
        "username": env.str("REDIS_USERNAME", default="") or None,
        "password": env.str("REDIS_PASSWORD", default="") or None,
        **(_tls_files(env) if tls else {}),
    }
    return _on_redis(f"{'rediss' if tls else 'redis'}://{service}/0", options, prefix)


PROFILES: dict[str, Callable[[Env, Path, str], Profile]] = {
    "database": database,
    "file": file,
    "dummy": dummy,
    "redis": redis,
    "redis-sentinel": redis_sentinel,
}

# What `devredis` and the tests start for a profile: see outlast.servers.Topology.
SERVERS: dict[str, dict[str, Any]] = {
    "redis": {"replicas": 0, "sentinels": 0},
    "redis-sentinel": {"replicas": 2, "sentinels": 3},
}


def load(name: str, env: Env, var: Path, prefix: str) -> Profile:
    """Return the profile `name`.

    Raises ImproperlyConfigured, with the names there are, for an unknown or empty one, and
    for a prefix by which two sites on one Redis could meet.
    """
    if name not in PROFILES:
        raise ImproperlyConfigured(
            f"DJANGO_PROFILE is {name!r}, but must be one of {', '.join(PROFILES)}: "
            "set it in the environment or in .env."
        )
    if not prefix or ":" in prefix:
        # Clearing the cache of "shop" would clear that of "shop:eu".
        raise ImproperlyConfigured(
            f"REDIS_PREFIX is {prefix!r}, but must be a name of this site alone, without a colon: "
            "a colon ends it in keys and channels."
        )
    return PROFILES[name](env, var, prefix)


def _on_redis(location: str, options: dict[str, Any], prefix: str) -> Profile:
    """Cache, copies of sessions and messages in one Redis; `outlast.cache` has the options."""
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


def _tls_files(env: Env) -> dict[str, str]:
    """Return the authority to trust, and the certificate to show, as redis-py names them."""
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
    """PostgreSQL carries messages between all processes; with SQLite they stay in one."""
    if env.db_url("DATABASE_URL", default="sqlite://")["ENGINE"].endswith("sqlite3"):
        return {"default": {"BACKEND": "outlast.channels.local.LocalLayer"}}
    listen = "listen" if "DATABASE_LISTEN_URL" in env else "default"  # see DATABASES
    return {
        "default": {
            "BACKEND": "outlast.channels.postgres.PostgresLayer",
            "CONFIG": {"listen": listen},
        }
    }


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.strip().rpartition(":")
    if not host or not port.isdecimal():
        raise ImproperlyConfigured(
            f"REDIS_SENTINELS holds {text!r}, but each Sentinel is written host:port."
        )
    return host.strip("[]"), int(port)
