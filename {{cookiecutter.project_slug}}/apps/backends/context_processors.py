"""What every page of the site knows."""

from django.conf import settings
from django.http import HttpRequest


def site(request: HttpRequest) -> dict[str, str]:
    """Return the site's name and its active profile."""
    return {"site_name": settings.SLUG.replace("-", " ").title(), "profile": settings.PROFILE}
