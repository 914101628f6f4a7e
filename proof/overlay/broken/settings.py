"""The site's settings, with addresses at which things go wrong."""

from config.settings import *  # noqa: F403

ROOT_URLCONF = "broken.urls"
