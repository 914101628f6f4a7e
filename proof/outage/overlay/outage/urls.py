"""The site's addresses, and those of the pages for the proof."""

from config.urls import handler500
from django.urls import include, path

from outage import views

__all__ = ["handler500"]

urlpatterns = [
    path("", include("config.urls")),
    path("outage/session/", views.session),
    path("outage/cache/", views.cached),
    path("outage/send/", views.send),
]
