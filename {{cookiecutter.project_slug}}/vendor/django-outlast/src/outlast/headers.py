"""Response headers that Django has no setting for."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from outlast.conf import conf

POLICIES = ("Content-Security-Policy", "Content-Security-Policy-Report-Only")


def security_headers(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Add Permissions-Policy, and let `frame-ancestors` follow X-Frame-Options.

    Browsers ignore X-Frame-Options if a policy has `frame-ancestors`, so Django's decorators
    `xframe_options_sameorigin` and `xframe_options_exempt` would do nothing.
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response.headers.setdefault("Permissions-Policy", conf.PERMISSIONS_POLICY)
        same = response.headers.get("X-Frame-Options") == "SAMEORIGIN"
        framed_by = "'self'" if same else "'none'"
        if getattr(response, "xframe_options_exempt", False):
            framed_by = "*"
        for name in POLICIES:
            if policy := response.headers.get(name):
                policy = policy.replace("frame-ancestors 'none'", f"frame-ancestors {framed_by}")
                response.headers[name] = policy
        return response

    return middleware
