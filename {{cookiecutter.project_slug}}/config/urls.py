"""The URLs of the site."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from accounts.views import LoginView

urlpatterns = [
    path("", include("accounts.urls")),
    # The site's login page has limits, and answers 403 to users without permission.
    path("admin/login/", LoginView.as_view(next_page="admin:index")),
    # The site's page has limits, and ends the other sessions.
    path("admin/password_change/", RedirectView.as_view(pattern_name="password_change")),
    path("admin/", admin.site.urls),
    # Browsers request this address if a page names no icon, such as those of the admin.
    path("favicon.ico", RedirectView.as_view(url="/static/icon.svg")),
]

handler400 = "outlast.errors.bad_request"
handler403 = "outlast.errors.permission_denied"
handler404 = "outlast.errors.page_not_found"
handler500 = "outlast.outage.server_error"
