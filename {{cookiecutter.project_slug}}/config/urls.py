"""The addresses of the site; design them once, people and tests rely on them."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("", include("apps.accounts.urls")),
    path("admin/", admin.site.urls),
]

handler500 = "apps.backends.outage.server_error"
