"""Forms of the account pages."""

from typing import Any

from django import forms
from django.contrib.auth import authenticate
from django.contrib.auth import forms as auth_forms
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables

from accounts.fields import FoldedEmailFormField


def email_field() -> FoldedEmailFormField:
    return FoldedEmailFormField(
        label=_("E-mail address"),
        max_length=254,
        widget=forms.EmailInput(attrs={"autofocus": True, "autocomplete": "username"}),
    )


class LoginForm(auth_forms.AuthenticationForm):
    """Django's login form, with an e-mail address as the name and "remember me"."""

    username = email_field()
    remember = forms.BooleanField(label=_("Remember me on this device"), required=False)

    error_messages = {
        **auth_forms.AuthenticationForm.error_messages,
        "invalid_login": _("Incorrect e-mail address or password."),
    }


class EmailForm(forms.Form):
    """The address that a link is sent to."""

    email = email_field()


@sensitive_variables("password")
def check_own_password(request: HttpRequest, password: str) -> str:
    """Return the password of the user who is logged in; raise ValidationError if it is not.

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
    """The password of the user who is logged in already."""

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
