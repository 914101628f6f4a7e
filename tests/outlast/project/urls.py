from django.contrib import admin
from django.contrib.auth import views
from django.http import HttpRequest, HttpResponse
from django.urls import path


def whoami(request: HttpRequest) -> HttpResponse:
    """Return who is logged in, without a look at the session's data."""
    return HttpResponse(f"user={request.user.get_username() or 'anonymous'}")


def count(request: HttpRequest) -> HttpResponse:
    """Count the visits of a session."""
    request.session["visits"] = request.session.get("visits", 0) + 1
    return HttpResponse(f"visits={request.session['visits']}")


urlpatterns = [
    path("", whoami, name="whoami"),
    path("count/", count, name="count"),
    path("login/", views.LoginView.as_view(template_name="admin/login.html"), name="login"),
    path("logout/", views.LogoutView.as_view(next_page="/"), name="logout"),
    path("admin/", admin.site.urls),
]
