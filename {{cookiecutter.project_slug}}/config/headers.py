"""Response headers that Django has no setting for."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase
from django.utils.deprecation import MiddlewareMixin
from outlast.csp import CSP

FEATURES = ("camera", "display-capture", "geolocation", "microphone", "payment", "usb")
PERMISSIONS_POLICY = ", ".join(f"{feature}=()" for feature in FEATURES)


class SecurityHeadersMiddleware(MiddlewareMixin):
    """Add Permissions-Policy, and let `frame-ancestors` follow X-Frame-Options.

    Browsers ignore X-Frame-Options where a policy has `frame-ancestors`, so that Django's
    decorators `xframe_options_sameorigin` and `xframe_options_exempt` would do nothing.
    """

    get_response: Callable[[HttpRequest], HttpResponseBase]

    def process_response(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        response.headers.setdefault("Permissions-Policy", PERMISSIONS_POLICY)
        ancestors = f"frame-ancestors {CSP.NONE}"
        for header in (CSP.HEADER_ENFORCE, CSP.HEADER_REPORT_ONLY):
            policy = response.headers.get(header, "")
            if ancestors not in policy:
                continue
            if getattr(response, "xframe_options_exempt", False):
                kept = [part for part in policy.split("; ") if part != ancestors]
                response.headers[str(header)] = "; ".join(kept)
            elif response.headers.get("X-Frame-Options", "").upper() == "SAMEORIGIN":
                allowed = f"frame-ancestors {CSP.SELF}"
                response.headers[str(header)] = policy.replace(ancestors, allowed)
        return response
