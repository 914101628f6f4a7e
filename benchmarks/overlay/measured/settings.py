"""The site's settings, for benchmarks: Django's stock parts if STOCK names a session engine."""

import os

from config.settings import *  # noqa: F403
from config.settings import DATABASES, INSTALLED_APPS, MIDDLEWARE, OUTLAST

OUTLAST = OUTLAST | {"SOCKETS_PER_SESSION": 0, "SOCKETS_PER_USER": 0}  # one user has them all

if hasher := os.environ.get("HASHER"):
    PASSWORD_HASHERS = [hasher]

if engine := os.environ.get("STOCK"):
    SILENCED_SYSTEM_CHECKS = ["security.W021", "outlast.E004"]  # whose sessions cannot be ended
    INSTALLED_APPS = list(dict.fromkeys([*INSTALLED_APPS, "django.contrib.sessions"]))
    SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"
    MIDDLEWARE = [
        name.replace(
            "outlast.middleware.Session", "django.contrib.sessions.middleware.Session"
        ).replace("outlast.middleware.Auth", "django.contrib.auth.middleware.Auth")
        for name in MIDDLEWARE
    ]
    DATABASES["default"]["OPTIONS"] = {}
    DATABASES["default"]["CONN_MAX_AGE"] = None if os.environ.get("KEEP") == "wsgi" else 0
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = False
    if engine != "db":
        CACHES = {
            "default": {
                "BACKEND": "django.core.cache.backends.redis.RedisCache",
                "LOCATION": os.environ["REDIS_URL"],
            }
        }
