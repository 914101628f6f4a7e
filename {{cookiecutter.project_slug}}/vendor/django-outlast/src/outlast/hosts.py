"""The address of the site, as browsers write it, and a redirect from its other host names."""

from collections.abc import Callable, Iterable
from ipaddress import IPv6Address
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse, HttpResponsePermanentRedirect
from django.http.request import split_domain_port
from django.utils.encoding import punycode

from outlast.conf import conf

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
        "ß, ς and zero-width joiners must be written as xn--…."
    )


def names(variable: str, written: Iterable[str]) -> set[str]:
    """Return the hosts of names or addresses; raise ImproperlyConfigured as `normalise()` does."""
    urls = (name if "://" in name else f"https://{name}" for name in written)
    return {normalise(variable, url)[1] for url in urls}


def redirect_to_site(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Return a middleware that redirects requests for `SITE_HOSTS` to `SITE_URL`."""

    def middleware(request: HttpRequest) -> HttpResponse:
        host, _port = split_domain_port(request.get_host())
        if not conf.SITE_URL or host not in conf.SITE_HOSTS:
            return get_response(request)
        keeps_method = request.method not in ("GET", "HEAD")
        to = conf.SITE_URL + request.get_full_path()
        return HttpResponsePermanentRedirect(to, preserve_request=keeps_method)

    return middleware
