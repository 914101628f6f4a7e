"""The site for WSGI servers, which serve pages but no WebSockets: see config/asgi.py."""

import os

from django.core.wsgi import get_wsgi_application
from outlast.requests import WSGIRequest

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
application = get_wsgi_application()
application.request_class = WSGIRequest  # errors with the site's headers
