"""Pages of an account, on Django's built-in views."""

from datetime import datetime
from math import ceil
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import forms as auth_forms
from django.contrib.auth import views as auth_views
from django.contrib.auth.mixins import LoginRequiredMixin
from django.forms import BaseForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse_lazy
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.generic import TemplateView
from django.views.generic.edit import BaseFormView

from accounts import forms
from accounts.fields import client_address
from accounts.models import Attempt


def wait_page(request: HttpRequest, until: datetime) -> HttpResponse:
    """Return the page that says when to try again."""
    seconds = max(1, ceil((until - timezone.now()).total_seconds()))
    context = {"until": until, "minutes": ceil(seconds / 60)}
    response = render(request, "accounts/wait.html", context, status=429)
    response.headers["Retry-After"] = str(seconds)
    return response


class ThrottledMixin(BaseFormView):
    """A form view that shows the wait page when the throttle refused its form."""

    def form_invalid(self, form: BaseForm) -> HttpResponse:
        throttle = getattr(self.request, "throttle", None)
        if throttle and throttle.until:
            return wait_page(self.request, throttle.until)
        return super().form_invalid(form)


class LoginView(ThrottledMixin, auth_views.LoginView):
    """Django's login with "remember me"; the admin uses it as well.

    Django's `redirect_authenticated_user` sends people without permission round in circles.
    """

    template_name = "accounts/login.html"
    authentication_form = forms.LoginForm

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show the form; with 403 and a sentence if a logged-in user was sent here."""
        if not request.user.is_authenticated:
            return super().get(request, *args, **kwargs)
        if not self.get_redirect_url():
            return redirect(self.get_default_redirect_url())
        return self.render_to_response(self.get_context_data(denied=True), status=403)

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
class PasswordChangeView(ThrottledMixin, auth_views.PasswordChangeView):
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
    """Django's request for a link to a new password, as often as `Attempt` admits."""

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
        if until := Attempt.admit_mail(email, client_address(self.request)):
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
        Attempt.forget_failures(form.user.get_username())  # guesses at the old one
        return super().form_valid(form)
