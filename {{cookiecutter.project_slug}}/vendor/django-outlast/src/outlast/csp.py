"""Django 6's Content-Security-Policy support under one name, with a backport for Django 5.2.

Settings (`SECURE_CSP`, `SECURE_CSP_REPORT_ONLY`), decorators and semantics are those of
https://docs.djangoproject.com/en/6.1/ref/csp/. To drop Django 5.2, delete this module and import
from `django.utils.csp`, `django.middleware.csp`, `django.views.decorators.csp` and
`django.template.context_processors` instead.
"""

from typing import TYPE_CHECKING

import django

if TYPE_CHECKING or django.VERSION >= (6, 0):
    from django.middleware.csp import ContentSecurityPolicyMiddleware, get_nonce
    from django.template.context_processors import csp
    from django.utils.csp import CSP, build_policy
    from django.views.decorators.csp import csp_override, csp_report_only_override
else:
    import secrets
    from enum import StrEnum
    from functools import partial, wraps
    from inspect import iscoroutinefunction

    from django.conf import settings
    from django.utils.deprecation import MiddlewareMixin
    from django.utils.functional import SimpleLazyObject, empty

    class CSP(StrEnum):
        HEADER_ENFORCE = "Content-Security-Policy"
        HEADER_REPORT_ONLY = "Content-Security-Policy-Report-Only"
        NONE = "'none'"
        REPORT_SAMPLE = "'report-sample'"
        SELF = "'self'"
        STRICT_DYNAMIC = "'strict-dynamic'"
        UNSAFE_EVAL = "'unsafe-eval'"
        UNSAFE_HASHES = "'unsafe-hashes'"
        UNSAFE_INLINE = "'unsafe-inline'"
        WASM_UNSAFE_EVAL = "'wasm-unsafe-eval'"
        NONCE = "<CSP_NONCE_SENTINEL>"

    class LazyNonce(SimpleLazyObject):
        """A nonce that is generated, and true, once a template has used it."""

        def __init__(self):
            super().__init__(lambda: secrets.token_urlsafe(16))

        def __bool__(self):
            return self._wrapped is not empty

    def get_nonce(request):
        return getattr(request, "_csp_nonce", None)

    def csp(request):
        """Context processor that adds the nonce as `csp_nonce`."""
        return {"csp_nonce": get_nonce(request)}

    def build_policy(config, nonce=None):
        """Return the header for a setting: directives to values; None and False are left out."""
        policy = []
        for directive, given in config.items():
            values = sorted(given) if isinstance(given, set) else given
            values = values if isinstance(values, list | tuple) else [values]
            if nonce:
                values = [f"'nonce-{nonce}'" if item == CSP.NONCE else item for item in values]
            values = [item for item in values if item not in (CSP.NONCE, True, False, None)]
            if values or given is True:
                policy.append(" ".join([directive, *values]))
        return "; ".join(policy)

    class ContentSecurityPolicyMiddleware(MiddlewareMixin):
        """Add the headers to every response that has none of its own."""

        def process_request(self, request):
            request._csp_nonce = LazyNonce()

        def process_response(self, request, response):
            # Django 5.2's debug pages have inline code and no decorator that allows it.
            if settings.DEBUG and response.status_code in (400, 404, 500):
                return response
            for header, attribute, setting in (
                (CSP.HEADER_ENFORCE, "_csp_config", "SECURE_CSP"),
                (CSP.HEADER_REPORT_ONLY, "_csp_ro_config", "SECURE_CSP_REPORT_ONLY"),
            ):
                config = getattr(response, attribute, getattr(settings, setting, {}))
                if config and header not in response:
                    response.headers[str(header)] = build_policy(config, get_nonce(request))
            return response

    def _override(attribute, config):
        if not isinstance(config, dict):
            raise TypeError("CSP config should be a mapping.")

        def decorator(view):
            def configure(response):
                setattr(response, attribute, config)
                return response

            async def asynchronous(request, *args, **kwargs):
                return configure(await view(request, *args, **kwargs))

            def synchronous(request, *args, **kwargs):
                return configure(view(request, *args, **kwargs))

            return wraps(view)(asynchronous if iscoroutinefunction(view) else synchronous)

        return decorator

    # Decorators: use this policy instead of the setting of the same kind for the view.
    csp_override = partial(_override, "_csp_config")
    csp_report_only_override = partial(_override, "_csp_ro_config")


__all__ = [
    "CSP",
    "ContentSecurityPolicyMiddleware",
    "build_policy",
    "csp",
    "csp_override",
    "csp_report_only_override",
    "get_nonce",
]
