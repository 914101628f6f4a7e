"""Forms of the account pages."""

from collections.abc import Iterable
from threading import Timer
from typing import Any
from urllib.parse import urlsplit

from django import forms
from django.conf import settings
from django.contrib.auth import authenticate
from django.contrib.auth import forms as auth_forms
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables

from accounts.fields import FoldedEmailField
from accounts.models import User

MAIL_DELAY = 0.5  # seconds; by then the page has been shown


class LoginForm(auth_forms.AuthenticationForm):
    """Django's login form, with an e-mail address for a name and "remember me"."""

    username = forms.EmailField(
        label=_("E-mail address"),
        widget=forms.EmailInput(attrs={"autofocus": True, "autocomplete": "username"}),
    )
    remember = forms.BooleanField(label=_("Remember me on this device"), required=False)

    error_messages = {
        **auth_forms.AuthenticationForm.error_messages,
        "invalid_login": _("Incorrect e-mail address or password."),
    }


@sensitive_variables("password")
def check_own_password(request: HttpRequest, password: str) -> str:
    """Return the password of who is logged in; raises ValidationError if it is not theirs.

    The throttle counts guesses here as it does at the login.
    """
    user = authenticate(request, username=request.user.get_username(), password=password)
    if user is None or user.pk != request.user.pk:
        raise ValidationError(_("This is not your password."), code="password_incorrect")
    return password


class PasswordChangeForm(auth_forms.PasswordChangeForm):
    """Django's form, throttled."""

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.request = request

    def clean_old_password(self) -> str:
        return check_own_password(self.request, self.cleaned_data["old_password"])


class ConfirmForm(forms.Form):
    """The password of who is logged in already."""

    password = forms.CharField(
        label=_("Password"),
        strip=False,
        widget=forms.PasswordInput(attrs={"autofocus": True, "autocomplete": "current-password"}),
    )

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.request = request

    def clean_password(self) -> str:
        return check_own_password(self.request, self.cleaned_data["password"])


class PasswordResetForm(auth_forms.PasswordResetForm):
    """Django's form, which takes as long for an address it knows as for one it does not."""

    email = forms.EmailField(
        label=_("E-mail address"),
        max_length=254,
        widget=forms.EmailInput(attrs={"autofocus": True, "autocomplete": "username"}),
    )

    def clean_email(self) -> str:
        return FoldedEmailField.fold(self.cleaned_data["email"])

    def get_users(self, email: str) -> Iterable[User]:
        return self.users

    def save(self, *args: Any, **options: Any) -> None:
        """Find the user, one query either way; whatever depends on that happens later.

        That is rendering and sending the mail, which takes seconds, or fails (Django logs
        that). The thread touches no database, and the process does not end before it. The
        link is made of `SITE_URL`, not of a Host header that somebody else wrote.
        """
        users = User.objects.filter(email=self.cleaned_data["email"], is_active=True)
        self.users = [user for user in users if user.has_usable_password()]
        site = urlsplit(settings.SITE_URL)
        link = {"domain_override": site.netloc, "use_https": site.scheme == "https"}
        later = Timer(MAIL_DELAY, super().save, args, options | link)
        later.name = "mail"
        later.start()
