"""Pages of an account, on Django's built-in views."""

from datetime import datetime
from math import ceil
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import forms as auth_forms
from django.contrib.auth import views as auth_views
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.hashers import make_password
from django.contrib.auth.mixins import LoginRequiredMixin
from django.contrib.messages.views import SuccessMessageMixin
from django.db import IntegrityError, transaction
from django.forms import BaseForm
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse_lazy
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.http import urlsafe_base64_decode
from django.utils.module_loading import import_string
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.generic import FormView, TemplateView, View
from django.views.generic.base import TemplateResponseMixin
from outlast.requests import client_address, is_text

from accounts import forms, mail
from accounts.fields import FoldedEmailField
from accounts.models import Attempt, User


def wait_page(request: HttpRequest, until: datetime) -> HttpResponse:
    """Return the page that shows when to try again."""
    seconds = max(1, ceil((until - timezone.now()).total_seconds()))
    context = {"until": until, "minutes": ceil(seconds / 60)}
    response = render(request, "accounts/wait.html", context, status=429)
    response.headers["Retry-After"] = str(seconds)
    return response


class ThrottledView(FormView):
    """A form view that shows the wait page if a limit was reached."""

    def form_invalid(self, form: BaseForm) -> HttpResponse:
        throttle = getattr(self.request, "throttle", None)
        if throttle and throttle.until:
            return wait_page(self.request, throttle.until)
        return super().form_invalid(form)


class OwnPasswordView(ThrottledView):
    """The view of an `OwnPasswordForm`."""

    def get_form_kwargs(self) -> dict[str, Any]:
        return super().get_form_kwargs() | {"request": self.request}


class LoginView(ThrottledView, auth_views.LoginView):
    """Django's login with "remember me"; the admin uses it as well.

    Django's `redirect_authenticated_user` causes a redirect loop for users without permission.
    """

    template_name = "accounts/login.html"
    authentication_form = forms.LoginForm

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show the form; with 403 and a message if a logged-in user was redirected here."""
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


@method_decorator(never_cache, name="dispatch")
class DashboardView(LoginRequiredMixin, TemplateView):
    template_name = "accounts/dashboard.html"


@method_decorator(never_cache, name="dispatch")
class PasswordChangeView(SuccessMessageMixin, auth_views.PasswordChangeView, OwnPasswordView):
    """Django's page to change the password; ends the other sessions, see `User.save()`."""

    template_name = "accounts/password_change.html"
    form_class = forms.PasswordChangeForm
    success_url = reverse_lazy("dashboard")
    success_message = _("Your password has been changed. Your other sessions have ended.")


@method_decorator([never_cache, login_not_required], name="dispatch")
class LinkMixin(TemplateResponseMixin, View):
    """A page about links in mails; those to sign up are 404 unless `SIGN_UP` is on."""

    kind = ""  # a kind of mail in accounts/mail.py
    page = ""

    def dispatch(self, *args: Any, **kwargs: Any) -> Any:
        if self.kind == "sign_up" and not settings.SIGN_UP:
            raise Http404
        return super().dispatch(*args, **kwargs)

    def get_template_names(self) -> list[str]:
        return [f"accounts/{self.kind}{self.page}.html"]


class LinkView(LinkMixin, FormView):
    """Sends a link to an email address, with the same response for all addresses."""

    form_class = forms.EmailForm

    def form_valid(self, form: BaseForm) -> HttpResponse:
        email = form.cleaned_data["email"]
        if until := Attempt.admit_mail(email, client_address(self.request)):
            return wait_page(self.request, until)
        mail.send_link(self.kind, email)
        return redirect(f"{self.kind}_done")


class LinkSentView(LinkMixin, TemplateView):
    page = "_done"


class LinkConfirmView(auth_views.PasswordResetConfirmView):
    """Django's page for a link; if two people use it at the same time, one succeeds."""

    token_generator = mail.tokens

    def form_valid(self, form: auth_forms.SetPasswordForm) -> HttpResponse:
        user, same = form.user, User.objects.filter(pk=form.user.pk, is_active=True)
        try:
            with transaction.atomic():
                # Django's `save()` would change the password even if the link was used meanwhile.
                if user.pk and not same.filter(password=self.former).update(
                    password=make_password(None)
                ):
                    raise IntegrityError
                return super().form_valid(form)
        except IntegrityError:  # or the address was signed up
            self.validlink = False
            return self.render_to_response(self.get_context_data())

    def get_user(self, uidb64: str) -> User | None:
        user = self.find(uidb64)
        self.former = user.password if user else ""
        return user

    def find(self, uidb64: str) -> User | None:
        """Return the user of the link, or None if the user is not allowed to log in."""
        user = super().get_user(uidb64)
        return user if user and user.is_active else None


class PasswordResetConfirmView(LinkConfirmView):
    """Set a new password with the link in the mail, then show the login page."""

    template_name = "accounts/password_reset_confirm.html"
    success_url = reverse_lazy("login")

    def form_valid(self, form: auth_forms.SetPasswordForm) -> HttpResponse:
        response = super().form_valid(form)
        if self.validlink:
            messages.success(
                self.request, _("Your password has been changed. Log in with the new password.")
            )
            Attempt.forget_failures(form.user.get_username())  # guesses at the old one
        return response


class SignUpConfirmView(LinkConfirmView):
    """Set the password of a new account, with the link of a sign-up or an invitation."""

    template_name = "accounts/sign_up_confirm.html"
    success_url = reverse_lazy("dashboard")
    post_reset_login = True

    @property
    def post_reset_login_backend(self) -> str:  # type: ignore[override]
        names = settings.AUTHENTICATION_BACKENDS  # some only check permissions
        found = (name for name in names if issubclass(import_string(name), ModelBackend))
        return next(found, names[0])

    def find(self, uidb64: str) -> User | None:
        """Return the invited user, or with `SIGN_UP` an unsaved user."""
        try:
            email = FoldedEmailField.fold(urlsafe_base64_decode(uidb64).decode())
        except ValueError:
            return None
        user = User.objects.filter(email=email).first() if is_text(email) else None
        if user is None:
            return User(email=email) if settings.SIGN_UP else None
        return user if user.is_invited else None
