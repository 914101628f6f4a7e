"""Django's error views, without reading the request.

Django's own views check the CSRF token, which reads the body. If the body cannot be read, the
error view fails as well, and the response is 500 instead of 400 or 404.
"""

from collections.abc import Callable
from inspect import unwrap

from django.http import HttpResponse
from django.views import defaults

bad_request = unwrap(defaults.bad_request)
page_not_found = unwrap(defaults.page_not_found)
permission_denied = unwrap(defaults.permission_denied)
server_error: Callable[..., HttpResponse] = unwrap(defaults.server_error)
