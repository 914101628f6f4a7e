#!/usr/bin/env python
"""Django's command line, with configuration errors as a sentence instead of a traceback."""

import os
import sys

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    try:
        settings.DEBUG  # noqa: B018  (whoever reads one setting has all of them read)
    except ImproperlyConfigured as error:
        sys.exit(f"The site cannot start: {error}")
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
