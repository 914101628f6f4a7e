"""The addresses of the site; design them once, people and tests rely on them."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from accounts.views import LoginView

urlpatterns = [
    path("", include("accounts.urls")),
    # One login page, throttled; without permission it answers 403.
    path("admin/login/", LoginView.as_view(next_page="admin:index")),
    # One page changes passwords, throttled, and it ends the other sessions.
    path("admin/password_change/", RedirectView.as_view(pattern_name="password_change")),
    path("admin/", admin.site.urls),
    # Browsers ask for this one wherever a page names no icon, as the admin's do.
    path("favicon.ico", RedirectView.as_view(url="/static/icon.svg")),
]

handler400 = "outlast.errors.bad_request"
handler403 = "outlast.errors.permission_denied"
handler404 = "outlast.errors.page_not_found"
handler500 = "outlast.outage.server_error"
