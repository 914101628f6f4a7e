"""The user, with an email address as the login name, and the attempts that limits count."""

from datetime import datetime, timedelta
from typing import Any, ClassVar

from asgiref.sync import sync_to_async
from django.contrib.auth import models as auth_models
from django.contrib.auth.hashers import make_password
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from outlast.models import Session

from accounts.fields import FoldedEmailField


class UserManager(auth_models.UserManager["User"]):
    """Creates users by email address; Django's own manager needs a username."""

    def create_user(  # type: ignore[override]
        self, email: str, password: str | None = None, **fields: Any
    ) -> "User":
        """Return a new, saved user; raises ValueError without an address."""
        if not email:
            raise ValueError("A user needs an email address: it is the login name.")
        # Not `set_password()`, which the user in a migration does not have.
        user = self.model(email=email, password=make_password(password), **fields)
        user.save(using=self._db)
        return user

    def create_superuser(  # type: ignore[override]
        self, email: str, password: str | None = None, **fields: Any
    ) -> "User":
        """Return a new, saved user who may do everything, the admin included."""
        rights = {"is_staff": True, "is_superuser": True}
        return self.create_user(email, password, **fields | rights)

    acreate_user = sync_to_async(create_user)  # type: ignore[arg-type]
    acreate_superuser = sync_to_async(create_superuser)  # type: ignore[arg-type]


class User(auth_models.AbstractUser):
    """Django's user with the normalised email address as the login name."""

    # Django's way to leave out a field of a model above; its type annotations do not allow it.
    username = None  # type: ignore[assignment]
    first_name = None  # type: ignore[assignment]
    last_name = None  # type: ignore[assignment]
    name = models.CharField(_("name"), max_length=150, blank=True)
    email = FoldedEmailField(
        _("email address"),
        unique=True,
        error_messages={"unique": _("An account with this email address already exists.")},
    )

    # Invalidates links that were sent before; set by `save()`.
    disabled_at = models.DateTimeField(null=True, editable=False)
    objects: ClassVar[UserManager] = UserManager()

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    INVITED = "!invited-"  # how the password of an invited user begins: unusable, as Django's "!"

    _password: str | None  # set by `set_password()`, and not where only the hash is renewed

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save the user; a new password, or disabling the account, ends all its sessions.

        Django notices both at the next request of a session, but a WebSocket makes no requests.
        """
        ended = self._password is not None or not self.is_active
        if not self.is_active:
            self.disabled_at = timezone.now()
            if (fields := kwargs.get("update_fields")) is not None:
                kwargs["update_fields"] = {*fields, "disabled_at"}
        super().save(*args, **kwargs)
        if ended:
            Session.objects.filter(user=self).delete()

    @property
    def is_invited(self) -> bool:
        """Whether a link chooses the first password; not if the password was disabled."""
        return self.is_active and self.password.startswith(self.INVITED)

    def get_full_name(self) -> str:
        return self.name or self.email

    def get_short_name(self) -> str:
        return self.name.partition(" ")[0] or self.email


class Attempt(models.Model):
    """An attempt to log in, or a request for mail, that counts towards a limit."""

    DAY = timedelta(days=1)
    KNOWN = timedelta(days=90)  # an account's address stays known after a login
    MAIL_WINDOW = timedelta(hours=1)
    MAIL_PER_NAME = 3
    MAIL_PER_ADDRESS = 30  # an office behind one address

    kind = models.CharField(max_length=7)  # "failure", "login" or "mail"
    name = models.CharField(max_length=254)
    address = models.GenericIPAddressField(null=True)
    at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        indexes = [models.Index(fields=["name", "at"], name="attempt_name_at")]

    def __str__(self) -> str:
        return f"{self.kind} {self.name} ({self.address})"

    @staticmethod
    def fold(name: str) -> str:
        """Return the normalised login name, cut to the length of the column."""
        return FoldedEmailField.fold(name)[:254]

    @classmethod
    def admit_mail(cls, email: str, address: str | None) -> datetime | None:
        """Count a request for mail, or return when the next one of its kind is admitted.

        It is counted before the limit is checked, for the sake of simultaneous requests.
        """
        request = cls.objects.create(kind="mail", name=cls.fold(email), address=address)
        recent = cls.objects.filter(kind="mail", at__gt=request.at - cls.MAIL_WINDOW)
        waits = [
            *recent.filter(name=request.name).order_by("-at")[cls.MAIL_PER_NAME :][:1],
            *recent.filter(address=address).order_by("-at")[cls.MAIL_PER_ADDRESS :][:1],
        ]
        if not waits:
            return None
        request.delete()
        return max(wait.at for wait in waits) + cls.MAIL_WINDOW

    @classmethod
    def forget_failures(cls, name: str) -> int:
        """Delete the failed logins of an account; return their number."""
        return cls.objects.filter(kind="failure", name=cls.fold(name)).delete()[0]

    @classmethod
    def clear_expired(cls) -> None:
        """Delete attempts that no longer count towards a limit."""
        now = timezone.now()
        cls.objects.filter(at__lte=now - cls.DAY).exclude(kind="login").delete()
        cls.objects.filter(at__lte=now - cls.KNOWN).delete()
