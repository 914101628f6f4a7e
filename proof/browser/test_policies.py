"""What the Content-Security-Policy lets an owner's pages do, in a real browser."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, expect

from proof.browser.conftest import Console
from proof.site import EMAIL, PASSWORD, Site
from proof.test_docs import follow

pytestmark = pytest.mark.any_profile

PAGES = """

from django.http import HttpResponse, HttpResponseRedirect
from django.views.decorators.clickjacking import xframe_options_sameorigin
from django.views.decorators.csrf import csrf_exempt

PIXEL = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="


def pay(request):
    if request.method == "POST":
        return HttpResponseRedirect(f"https://localhost:{request.get_port()}/paid/")
    return HttpResponse("<form method=post><button>Pay</button></form>")


def framing(request):
    return HttpResponse(f"<iframe src=/framed/></iframe><img alt=dot src='{PIXEL}'>")


urlpatterns += [
    path("pay/", csrf_exempt(pay)),
    path("framing/", framing),
    path("framed/", xframe_options_sameorigin(lambda request: HttpResponse("inside"))),
]
"""


@pytest.fixture(scope="module")
def own(topology: Any, profile: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site with pages of an owner, and those of docs/api.md."""
    variables = topology.environment() if topology else {}
    added = {"config/urls.py": PAGES}
    site = Site(tmp_path_factory.mktemp("own"), profile, variables, added=added)
    follow(site, "api.md", only_files=True)
    site.manage("collectstatic", "--noinput")
    with site.running():
        yield site


@pytest.fixture
def console() -> Console:
    return Console()


@pytest.fixture
def context(own: Site, browser: Browser, console: Console) -> Iterator[BrowserContext]:
    context = browser.new_context(base_url=own.url, ignore_https_errors=True)
    yield console.watch(context)
    context.close()


def test_a_form_may_lead_to_another_site(context: BrowserContext) -> None:
    page = context.new_page()
    page.goto("/pay/")
    page.get_by_role("button", name="Pay").click()
    page.wait_for_url("https://localhost:*/paid/")


def test_a_frame_of_the_own_site_and_an_image_as_data(
    context: BrowserContext, console: Console
) -> None:
    page = context.new_page()
    page.goto("/framing/")
    expect(page.frame_locator("iframe").get_by_text("inside")).to_be_visible()
    dot = page.get_by_alt_text("dot")
    assert dot.evaluate("image => image.decode().then(() => image.naturalWidth)") == 1
    assert not console


def test_the_script_of_the_documentation_saves(context: BrowserContext, console: Console) -> None:
    page = context.new_page()
    page.goto("/accounts/login/?next=/note/")
    page.get_by_label("Email address").fill(EMAIL)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("main").get_by_role("button", name="Log in").click()
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#saved")).to_have_text("Buy milk")
    assert not console
