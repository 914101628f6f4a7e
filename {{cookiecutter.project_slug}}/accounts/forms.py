"""Forms of the account pages."""

from typing import Any

from django import forms
from django.contrib.auth import authenticate
from django.contrib.auth import forms as auth_forms
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables


class EmailForm(forms.Form):
    """The email address that a link is sent to."""

    email = forms.EmailField(
        label=_("Email address"),
        max_length=254,
        widget=forms.EmailInput(attrs={"autofocus": True, "autocomplete": "username"}),
    )


class LoginForm(auth_forms.AuthenticationForm):
    """Django's login form, with an email address as the name and "remember me"."""

    username = EmailForm.base_fields["email"]
    remember = forms.BooleanField(label=_("Remember me on this device"), required=False)
    error_messages = {
        **auth_forms.AuthenticationForm.error_messages,
        "invalid_login": _("Incorrect email address or password."),
    }


class OwnPasswordForm(forms.Form):
    """Checks the password of the logged-in user; failures are counted."""

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.request = request

    @sensitive_variables("password")
    def check_own(self, password: str) -> str:
        """Return the password; raise ValidationError if it is not the user's."""
        name = self.request.user.get_username()
        user = authenticate(self.request, username=name, password=password)
        if user is None or user.pk != self.request.user.pk:
            raise ValidationError(_("Incorrect password."), code="password_incorrect")
        return password


class PasswordChangeForm(OwnPasswordForm, auth_forms.PasswordChangeForm):
    def clean_old_password(self) -> str:
        return self.check_own(self.cleaned_data["old_password"])


class ConfirmForm(OwnPasswordForm):
    password = forms.CharField(
        label=_("Password"),
        strip=False,
        widget=forms.PasswordInput(attrs={"autofocus": True, "autocomplete": "current-password"}),
    )

    def clean_password(self) -> str:
        return self.check_own(self.cleaned_data["password"])
