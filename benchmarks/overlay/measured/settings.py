"""The site's settings with Django's stock parts: STOCK names a session engine."""

import os

from config.settings import *  # noqa: F403
from config.settings import DATABASES, INSTALLED_APPS, MIDDLEWARE

SILENCED_SYSTEM_CHECKS = ["security.W021", "outlast.E004"]  # whose sessions cannot be ended
INSTALLED_APPS = list(dict.fromkeys([*INSTALLED_APPS, "django.contrib.sessions"]))
SESSION_ENGINE = f"django.contrib.sessions.backends.{os.environ['STOCK']}"
MIDDLEWARE = [
    name.replace(
        "outlast.middleware.Session", "django.contrib.sessions.middleware.Session"
    ).replace("outlast.middleware.Auth", "django.contrib.auth.middleware.Auth")
    for name in MIDDLEWARE
]
kept = None if "KEEP" in os.environ else 0
DATABASES["default"] |= {"OPTIONS": {}, "CONN_MAX_AGE": kept, "CONN_HEALTH_CHECKS": False}
if SESSION_ENGINE.endswith("cache"):
    redis = "django.core.cache.backends.redis.RedisCache"
    CACHES = {"default": {"BACKEND": redis, "LOCATION": os.environ["REDIS_URL"]}}
