"""The server of the site, in production and in black-box tests: `python -m config.serve`.

`outlast/serve.py` has the options that every deployment needs; others are arguments.
"""

import os
import sys

try:
    from outlast.serve import serve
except ModuleNotFoundError as error:
    sys.exit(f"Couldn't import {error.name}. Did you forget to activate a virtual environment?")

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    serve("config.asgi:application", "config.serve")
