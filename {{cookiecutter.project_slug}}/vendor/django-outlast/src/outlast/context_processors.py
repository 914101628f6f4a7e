"""What every page of the site knows."""

from django.conf import settings
from django.http import HttpRequest


def site(request: HttpRequest) -> dict[str, str]:
    """Return the site's name and its active profile."""
    # Not `site_name`: Django's login page has that already, for the host.
    return {"site_title": settings.SITE_TITLE, "profile": settings.PROFILE}
