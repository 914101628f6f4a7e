"""The site's settings, with what Django's own session engines need and two bare pages."""

from config.settings import *  # noqa: F403
from config.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "django.contrib.sessions"]
ROOT_URLCONF = "benchmarks.inside.measure"
DEBUG_PROPAGATE_EXCEPTIONS = True
