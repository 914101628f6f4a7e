"""Users and groups in the admin: staff cannot gain permissions, and can invite people."""

from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import AdminUserCreationForm
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Group, Permission
from django.db.models import Q, QuerySet
from django.db.transaction import on_commit
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from outlast.models import Session

from accounts import mail
from accounts.models import User

RIGHTS = ("is_staff", "is_superuser", "groups", "user_permissions")
admin.site.site_header = admin.site.site_title = settings.SITE_TITLE
admin.site.unregister(Group)


class UserCreationForm(AdminUserCreationForm):
    """Django's form, for users with an email address instead of a username."""

    usable_password = AdminUserCreationForm.create_usable_password_field(
        _("Disabled: the user is invited by a mail with a link to choose a password.")
    )

    class Meta:
        model = User
        fields = ("email", "name")
        field_classes: dict[str, type] = {}


def lacking(user: Any) -> QuerySet[Permission]:
    """Return the permissions that a user does not have."""
    return Permission.objects.exclude(Q(user=user) | Q(group__user=user))


class RightsAdmin(admin.ModelAdmin):
    """Only superusers change permissions."""

    rights: tuple[str, ...]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        fields = super().get_readonly_fields(request, obj)
        return fields if request.user.is_superuser else (*fields, *self.rights)


@admin.register(Group)
class GroupAdmin(RightsAdmin, DjangoGroupAdmin):
    rights = ("permissions",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Group]:
        """Leave out groups with permissions that this user lacks: deleting one removes them."""
        groups, by = super().get_queryset(request), request.user
        return groups if by.is_superuser else groups.exclude(permissions__in=lacking(by))


@admin.register(User)
class UserAdmin(RightsAdmin, DjangoUserAdmin):
    """Django's pages for users; an account that is added without a password is an invitation."""

    rights = RIGHTS
    add_form = UserCreationForm
    add_fieldsets = (
        (None, {"fields": ("email", "name", "usable_password", "password1", "password2")}),
    )
    fieldsets = (
        (None, {"fields": ("email", "password")}),
        (_("Personal info"), {"fields": ("name",)}),
        (_("Permissions"), {"fields": ("is_active", *RIGHTS)}),
        (_("Important dates"), {"fields": ("last_login", "date_joined")}),
    )
    list_display = ("email", "name", "is_active", "is_staff", "last_login")
    search_fields = ("email", "name")
    ordering = ("email",)
    actions = ("end_sessions", "invite")

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        """Leave out users with permissions that this user lacks: setting a password gains them."""
        users, by = super().get_queryset(request), request.user
        if by.is_superuser:
            return users
        rights = Q(user_permissions__in=lacking(by)) | Q(groups__permissions__in=lacking(by))
        return users.exclude(pk__in=User.objects.filter(rights | Q(is_superuser=True)))

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if not change and not obj.has_usable_password():
            on_commit(lambda: self.invite(request, User.objects.filter(pk=obj.pk)))

    @admin.action(description=_("Invite the selected users again"), permissions=["change"])
    def invite(self, request: HttpRequest, users: QuerySet[User]) -> None:
        """Send a link to selected users who have no password."""
        invited = [user for user in users.filter(is_active=True) if not user.has_usable_password()]
        for sent, user in enumerate(invited):
            if not user.is_invited:
                user.password = make_password(None).replace("!", user.INVITED)
                user.save(update_fields=["password"])
            try:
                mail.send("invitation", user.email)
            except OSError as error:  # the next mail would wait for the same server
                text = _(
                    "The invitation of %(email)s could not be sent: %(error)s. "
                    "%(sent)d of %(all)d invitations were sent."
                )
                counts = {"sent": sent, "all": len(invited)}
                messages.error(request, text % {"email": user.email, "error": error, **counts})
                break
            messages.success(request, _("Invited %s.") % user.email)

    @admin.action(description=_("End all sessions of the selected users"), permissions=["change"])
    def end_sessions(self, request: HttpRequest, users: QuerySet[User]) -> None:
        count, _objects = Session.objects.filter(user__in=users).delete()
        text = ngettext("One session has ended.", "%(count)d sessions have ended.", count)
        messages.success(request, text % {"count": count})
