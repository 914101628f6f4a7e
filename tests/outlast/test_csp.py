"""The policy of `outlast.csp`: the same on Django 5.2 as Django's own on 6."""

from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from outlast import csp
from outlast.csp import CSP

POLICY, REPORT = "Content-Security-Policy", "Content-Security-Policy-Report-Only"


def answer(view: Any) -> HttpResponse:
    request = RequestFactory().get("/")
    response = csp.ContentSecurityPolicyMiddleware(view)(request)
    assert isinstance(response, HttpResponse)
    return response


def plain(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


@pytest.mark.parametrize(
    ("config", "policy"),
    [
        ({"default-src": [CSP.SELF], "img-src": "data:"}, "default-src 'self'; img-src data:"),
        ({"img-src": {"b", "a"}, "style-src": ("c",)}, "img-src a b; style-src c"),
        ({"upgrade-insecure-requests": True, "a": False, "b": None}, "upgrade-insecure-requests"),
        ({"script-src": [CSP.NONCE], "style-src": [CSP.SELF, CSP.NONCE]}, "style-src 'self'"),
    ],
)
def test_a_setting_becomes_a_header(settings: Any, config: dict[str, Any], policy: str) -> None:
    settings.SECURE_CSP = config
    response = answer(plain)
    assert response.headers[POLICY] == policy
    assert REPORT not in response.headers


def test_both_settings_and_both_decorators(settings: Any) -> None:
    settings.SECURE_CSP = {"default-src": [CSP.SELF]}
    settings.SECURE_CSP_REPORT_ONLY = {"default-src": [CSP.NONE]}
    assert answer(plain).headers[REPORT] == "default-src 'none'"
    overridden = answer(csp.csp_override({"img-src": "a"})(plain)).headers
    assert (overridden[POLICY], overridden[REPORT]) == ("img-src a", "default-src 'none'")
    overridden = answer(csp.csp_report_only_override({"img-src": "a"})(plain)).headers
    assert (overridden[POLICY], overridden[REPORT]) == ("default-src 'self'", "img-src a")
    assert POLICY not in answer(csp.csp_override({})(plain)).headers
    with pytest.raises(TypeError, match="should be a mapping"):
        csp.csp_override("default-src 'self'")(plain)  # type: ignore[arg-type]


def test_a_header_of_the_view_stays(settings: Any) -> None:
    settings.SECURE_CSP = {"default-src": [CSP.SELF]}
    response = answer(lambda request: HttpResponse(headers={POLICY: "img-src a"}))
    assert response.headers[POLICY] == "img-src a"


def test_a_nonce_is_generated_when_it_is_used(settings: Any) -> None:
    settings.SECURE_CSP = {"script-src": [CSP.SELF, CSP.NONCE]}

    def page(request: HttpRequest) -> HttpResponse:
        nonce = csp.csp(request)["csp_nonce"]
        assert not nonce
        return HttpResponse(str(nonce))

    response = answer(page)
    nonce = response.content.decode()
    assert len(nonce) == 22
    assert response.headers[POLICY] == f"script-src 'self' 'nonce-{nonce}'"
