"""Pages of an account, on Django's built-in views."""

from typing import Any

from django.conf import settings
from django.contrib.auth import views as auth_views
from django.contrib.auth.mixins import LoginRequiredMixin
from django.http import HttpResponse
from django.utils.translation import gettext_lazy as _
from django.views.generic import TemplateView

from apps.accounts.forms import LoginForm


class LoginView(auth_views.LoginView):
    """Django's login, which "remember me" lets last beyond the browser's end."""

    template_name = "accounts/login.html"
    authentication_form = LoginForm
    redirect_authenticated_user = True

    def form_valid(self, form: LoginForm) -> HttpResponse:
        response = super().form_valid(form)
        # None: as long as SESSION_COOKIE_AGE says; 0: until the browser closes.
        self.request.session.set_expiry(None if form.cleaned_data["remember"] else 0)
        return response


class LogoutView(auth_views.LogoutView):
    """Django's logout: by POST only, so that no foreign page can log anyone out."""


class DashboardView(LoginRequiredMixin, TemplateView):
    """Who is logged in, and where this site keeps sessions, cache and messages."""

    template_name = "accounts/dashboard.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(
            backends=[
                (_("Sessions"), settings.SESSION_ENGINE),
                (_("Cache"), settings.CACHES["default"]["BACKEND"]),
                (_("Messages"), settings.CHANNEL_LAYERS["default"]["BACKEND"]),
            ],
            **kwargs,
        )
