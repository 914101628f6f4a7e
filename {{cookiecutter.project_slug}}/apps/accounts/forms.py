"""Forms of the account pages."""

from collections.abc import Iterable
from threading import Thread
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

from apps.accounts.fields import FoldedEmailField
from apps.accounts.models import User


class LoginForm(auth_forms.AuthenticationForm):
    """Django's login form, with an e-mail address for a name and "remember me"."""

    username = forms.EmailField(
        label=_("E-mail address"),
        widget=forms.EmailInput(attrs={"autofocus": True, "autocomplete": "username"}),
    )
    remember = forms.BooleanField(label=_("Remember me on this device"), required=False)

    error_messages = {
        **auth_forms.AuthenticationForm.error_messages,
        "invalid_login": _("This e-mail address and this password do not belong together."),
    }


class PasswordChangeForm(auth_forms.PasswordChangeForm):
    """Django's form; the throttle counts who guesses the old password here as well."""

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.request = request

    @sensitive_variables("old_password")
    def clean_old_password(self) -> str:
        old_password = self.cleaned_data["old_password"]
        name = self.user.get_username()
        if authenticate(self.request, username=name, password=old_password) is None:
            raise ValidationError(
                self.error_messages["password_incorrect"], code="password_incorrect"
            )
        return old_password


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
        """Find whom Django finds: addresses have one spelling here, so an index will do."""
        users = User.objects.filter(email=email, is_active=True)
        return (user for user in users if user.has_usable_password())

    def save(self, **options: Any) -> None:
        """Make the link from `SITE_URL`, not from a Host header that somebody else wrote."""
        site = urlsplit(settings.SITE_URL)
        link = {"domain_override": site.netloc, "use_https": site.scheme == "https"}
        super().save(**options | link)

    def send_mail(self, *args: Any, **kwargs: Any) -> None:
        """Send it while the page is shown already: a mail server takes seconds, or fails.

        Django's method logs a failure. The thread touches no database, and the process
        does not end before it.
        """
        Thread(target=super().send_mail, args=args, kwargs=kwargs, name="mail").start()
