"""The site's settings and three more pages, for the proof of outages.

With STOCK in the environment sessions and cache are Django's own, as in its documentation.
"""

import os

from config.settings import *  # noqa: F403
from config.settings import MIDDLEWARE, OUTLAST

ROOT_URLCONF = "outage.urls"
OUTLAST = OUTLAST | {"SOCKETS_PER_SESSION": 0, "SOCKETS_PER_USER": 0}  # one user has them all
MIDDLEWARE = ["outage.urls.name_worker", *MIDDLEWARE]

# Hundreds of logins in seconds: how a password is hashed is not what is proved here.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

if engine := os.environ.get("STOCK"):
    SILENCED_SYSTEM_CHECKS = ["security.W021", "outlast.E004"]  # that these cannot end is shown
    SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"
    CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": os.environ["REDIS_URL"],
        }
    }
    MIDDLEWARE = [
        name.replace(
            "outlast.middleware.Session", "django.contrib.sessions.middleware.Session"
        ).replace("outlast.middleware.Auth", "django.contrib.auth.middleware.Auth")
        for name in MIDDLEWARE
    ]
