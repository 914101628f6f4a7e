"""The address and the name of the site: `SITE_URL`, normalised, and other host names."""

from collections.abc import Callable
from ipaddress import IPv6Address
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse, HttpResponsePermanentRedirect
from django.http.request import split_domain_port
from django.utils.encoding import punycode

PORTS = {"http": 80, "https": 443}
AMBIGUOUS = set("ßς\u200c\u200d")  # older and newer IDNA encode these letters differently


def normalise(variable: str, url: str, schemes: tuple[str, ...] = ("https",)) -> tuple[str, str]:
    """Return the address as browsers write it in `Origin`, and its host as in `Host`.

    Lower case, IDNA, no default port, no slash at the end. Raise ImproperlyConfigured if it is
    not the address of a site.
    """
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname or "", parts.port
        host, _ = split_domain_port(f"[{IPv6Address(host)}]" if ":" in host else punycode(host))
    except ValueError:  # a port that is no number, a label that is too long
        host = ""
    if not url.strip():
        problem = "is not set"
    elif "@" in url or (host and (parts.path.strip("/") or parts.query or parts.fragment)):
        problem = "has more than scheme, host and port"
    elif not host or parts.scheme not in schemes or set(url) & AMBIGUOUS:
        problem = f"is {url!r}"
    else:
        suffix = "" if port in (None, PORTS[parts.scheme]) else f":{port}"
        return f"{parts.scheme}://{host}{suffix}", host
    raise ImproperlyConfigured(
        f"{variable} {problem}, but must be the site's address as people type it, such as "
        "https://www.example.com, without a path. Plain http is allowed only with DJANGO_DEBUG=1; "
        "ß, ς and joiners must be written as xn--…."
    )


def redirect_to_site(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Return a middleware that redirects requests for `SITE_HOSTS` to `SITE_URL`."""

    def middleware(request: HttpRequest) -> HttpResponse:
        host, _port = split_domain_port(request.get_host())
        if host not in settings.SITE_HOSTS:
            return get_response(request)
        keeps_method = request.method not in ("GET", "HEAD")
        to = settings.SITE_URL + request.get_full_path()
        return HttpResponsePermanentRedirect(to, preserve_request=keeps_method)

    return middleware


def site(request: HttpRequest) -> dict[str, Any]:
    """Return the site's name, its profile, and whether anyone can sign up, for every page."""
    # Not `site_name`: Django's login page has that already, for the host.
    names = ("SITE_TITLE", "PROFILE", "SIGN_UP")
    return {name.lower(): getattr(settings, name) for name in names}


@register(Tags.security)
def check_cookies(**kwargs: Any) -> list[CheckMessage]:
    """Refuse cookies that all browsers ignore because of their name."""
    found: list[CheckMessage] = []
    for kind in ("SESSION_COOKIE", "CSRF_COOKIE"):
        name, domain, path, secure = (
            getattr(settings, f"{kind}_{x}") for x in ("NAME", "DOMAIN", "PATH", "SECURE")
        )
        if name.startswith("__Host-") and (domain or path != "/" or not secure):
            text = f"Browsers drop the cookie {name}: it must be secure, without domain and path."
            hint = (
                f"Set {kind}_SECURE = True and remove {kind}_DOMAIN and {kind}_PATH, or give "
                f"{kind}_NAME another name, which subdomains can then overwrite."
            )
            found.append(Error(text, hint=hint, id="site.E001"))
    return found
