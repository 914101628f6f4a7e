"""What every template can use."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest


def site(request: HttpRequest) -> dict[str, Any]:
    """Return the site's name, its profile, and whether anyone can sign up, for every page."""
    # Not `site_name`: Django's login page has that already, for the host.
    names = ("SITE_TITLE", "PROFILE", "SIGN_UP")
    return {name.lower(): getattr(settings, name) for name in names}
