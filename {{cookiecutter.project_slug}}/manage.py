#!/usr/bin/env python
"""Django's command line, with configuration errors as a sentence instead of a traceback."""

import argparse
import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    try:
        from django.conf import settings
        from django.core.exceptions import ImproperlyConfigured
        from django.core.management import execute_from_command_line
        from django.core.management.base import handle_default_options
    except ModuleNotFoundError:
        sys.exit(
            "Couldn't import Django. Are you sure it's installed and available on your PYTHONPATH "
            "environment variable? Did you forget to activate a virtual environment?"
        )
    # As Django does, but before the settings are read here.
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--settings")
    parser.add_argument("--pythonpath")
    handle_default_options(parser.parse_known_args(sys.argv[2:])[0])
    try:
        settings.DEBUG  # noqa: B018  (reading one setting reads all of them)
    except ImproperlyConfigured as error:
        sys.exit(f"The site cannot start: {error}")
    except ModuleNotFoundError as error:
        module = os.environ["DJANGO_SETTINGS_MODULE"]
        if f"{module}.".startswith(f"{error.name}."):
            sys.exit(f"There is no module {module}, as --settings or DJANGO_SETTINGS_MODULE says.")
        sys.exit(
            f"Couldn't import {error.name}. Did you forget to install the packages of "
            "pyproject.toml, or to activate a virtual environment? If the library in vendor/ is "
            "missing, restore it with git checkout vendor"
        )
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
