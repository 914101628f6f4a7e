"""Pages of an account, on Django's built-in views."""

from typing import Any

from axes.utils import reset
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import forms as auth_forms
from django.contrib.auth import views as auth_views
from django.contrib.auth.mixins import LoginRequiredMixin
from django.http import HttpResponse
from django.urls import reverse_lazy
from django.utils.decorators import method_decorator
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.generic import TemplateView

from accounts import forms
from accounts.models import ResetRequest
from accounts.throttle import client_address, wait_page


class LoginView(auth_views.LoginView):
    """Django's login, which "remember me" lets last beyond the browser's end."""

    template_name = "accounts/login.html"
    authentication_form = forms.LoginForm

    @property
    def redirect_authenticated_user(self) -> bool:  # type: ignore[override]
        """Whether people who are logged in are sent on instead of shown the form.

        Not with `?next=`: `permission_required` sends them here, and would do so again.
        """
        return not self.get_redirect_url()

    def form_valid(self, form: auth_forms.AuthenticationForm) -> HttpResponse:
        response = super().form_valid(form)
        # None: until the browser closes, as SESSION_EXPIRE_AT_BROWSER_CLOSE says.
        remember = form.cleaned_data["remember"]
        self.request.session.set_expiry(settings.SESSION_COOKIE_AGE if remember else None)
        return response


class LogoutView(auth_views.LogoutView):
    """Django's logout: by POST only, so that no foreign page can log anyone out."""


@method_decorator(never_cache, name="dispatch")
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


@method_decorator(never_cache, name="dispatch")
class PasswordChangeView(auth_views.PasswordChangeView):
    """Django's change of a password; it ends the other sessions, see `User.save()`."""

    template_name = "accounts/password_change.html"
    form_class = forms.PasswordChangeForm
    success_url = reverse_lazy("dashboard")

    def get_form_kwargs(self) -> dict[str, Any]:
        return super().get_form_kwargs() | {"request": self.request}

    def form_valid(self, form: auth_forms.PasswordChangeForm) -> HttpResponse:
        messages.success(
            self.request, _("Your password has been changed. Your other sessions have ended.")
        )
        return super().form_valid(form)


class PasswordResetView(auth_views.PasswordResetView):
    """Django's request for a link to a new password, as often as `ResetRequest` admits."""

    template_name = "accounts/password_reset.html"
    form_class = forms.PasswordResetForm
    subject_template_name = "accounts/password_reset_subject.txt"
    email_template_name = "accounts/password_reset_mail.txt"
    extra_email_context = {
        "site_title": settings.SITE_TITLE,
        "minutes": settings.PASSWORD_RESET_TIMEOUT // 60,
    }

    def form_valid(self, form: auth_forms.PasswordResetForm) -> HttpResponse:
        email = form.cleaned_data["email"]
        if until := ResetRequest.admit(email, client_address(self.request)):
            return wait_page(self.request, until)
        return super().form_valid(form)


class PasswordResetDoneView(auth_views.PasswordResetDoneView):
    """The same answer for every address."""

    template_name = "accounts/password_reset_done.html"


class PasswordResetConfirmView(auth_views.PasswordResetConfirmView):
    """Django's new password by the link in the mail, and then the login page."""

    template_name = "accounts/password_reset_confirm.html"
    success_url = reverse_lazy("login")

    def form_valid(self, form: auth_forms.SetPasswordForm) -> HttpResponse:
        messages.success(self.request, _("Your password has been changed: log in with it."))
        reset(username=form.user.get_username())  # guesses at the old one
        return super().form_valid(form)
