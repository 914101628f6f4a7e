"""Refuse forged cookies, and a Content-Type that cannot be read; client addresses for limits."""

from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Any

from django.conf import settings
from django.core.exceptions import BadRequest
from django.core.handlers import asgi, wsgi
from django.http import HttpRequest
from django.http.cookie import parse_cookie
from django.utils.deprecation import MiddlewareMixin

UNREADABLE = (LookupError, ValueError, BadRequest)  # for example `charset*=unknown''x`


class ASGIRequest(asgi.ASGIRequest):
    """Django's, without a Content-Type that cannot be read, which the middleware below refuses.

    Django reads it before the first middleware, and responds with 500 and none of their headers.
    """

    def __init__(self, scope: Any, body_file: Any) -> None:
        try:
            super().__init__(scope, body_file)
        except UNREADABLE:
            headers = [item for item in scope["headers"] if item[0] != b"content-type"]
            super().__init__(scope | {"headers": headers}, body_file)
            self.is_unreadable = True


class WSGIRequest(wsgi.WSGIRequest):
    """The same for WSGI."""

    def __init__(self, environ: Any) -> None:
        try:
            super().__init__(environ)
        except UNREADABLE:
            super().__init__(environ | {"CONTENT_TYPE": ""})
            self.is_unreadable = True


class StrictRequestMiddleware(MiddlewareMixin):
    """Accept session and CSRF cookies by their exact names only; refuse unreadable requests.

    Place it before SessionMiddleware and CsrfViewMiddleware.
    """

    def process_request(self, request: HttpRequest) -> None:
        if getattr(request, "is_unreadable", False):
            raise BadRequest("The Content-Type cannot be read.")
        if request.encoding and not is_usable(request.encoding):
            raise BadRequest("The charset of the Content-Type cannot be used.")
        if header := request.META.get("HTTP_COOKIE"):
            names = (settings.SESSION_COOKIE_NAME, settings.CSRF_COOKIE_NAME)
            others = {key: value for key, value in request.COOKIES.items() if key not in names}
            request.COOKIES = others | exact_cookies(header)


def exact_cookies(header: str) -> dict[str, str]:
    """Return the session and the CSRF cookie of a Cookie header decoded as Latin-1.

    Django strips Unicode spaces from names. Browsers do not, and let a sibling subdomain set
    "\\xa0__Host-sessionid", which Django would accept. A cookie that is sent twice is left out,
    because only one of the two can be the site's.
    """
    found: dict[str, list[str]] = {
        settings.SESSION_COOKIE_NAME: [],
        settings.CSRF_COOKIE_NAME: [],
    }
    for pair in header.split(";"):
        pair = pair.lstrip(" \t")
        name, equals, _ = pair.partition("=")
        if equals and name in found:
            found[name].append(parse_cookie(pair)[name])
    return {name: values[0] for name, values in found.items() if len(values) == 1}


@lru_cache(maxsize=64)
def is_usable(charset: str) -> bool:
    """Return whether forms can be read in a charset that Python knows.

    It must contain ASCII, unlike UTF-16, and replace bytes that it cannot decode: idna, hex and
    undefined raise errors.
    """
    try:
        return "a=&b".encode(charset) == b"a=&b" and bool(b"\xff".decode(charset, "replace"))
    except (LookupError, ValueError):
        return False


def client_address(request: HttpRequest) -> str | None:
    """Return the address for limits: for IPv6 the network, because a user has 2**64 addresses.

    It is the connection's; uvicorn replaces it by a header of proxies that it trusts only.
    """
    try:
        address = ip_address(request.META.get("REMOTE_ADDR", ""))
    except ValueError:  # a Unix socket, or a proxy that does not send it
        return None
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or IPv6Address(int(address) >> 64 << 64)
    return str(address)


def is_text(text: str) -> bool:
    """Return whether databases accept the text: no NUL, and no lone surrogate."""
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False
