"""The admin, used by staff who are not superusers."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.db.models import Model
from django.test import Client

from accounts.models import User
from tests.conftest import PASSWORD

pytestmark = [pytest.mark.django_db, pytest.mark.any_profile]

USERS, GROUPS = "/admin/accounts/user/", "/admin/auth/group/"
SECRETS = {"password", "session_key", "session_data"}
SLOW_LOOKUPS = [
    pytest.param(x, marks=pytest.mark.slow) for x in ("", "__gt", "__regex", "__isnull", "__in")
]


@pytest.fixture
def root() -> User:
    return User.objects.create_superuser("root@example.com", PASSWORD)


@pytest.fixture
def staff() -> User:
    """An account that may do everything with users and groups, but is no superuser."""
    user = User.objects.create_user("staff@example.com", PASSWORD, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(content_type__model__in=["user", "group"]))
    return user


@pytest.fixture
def browser(https: Client, staff: User) -> Client:
    """The browser of `staff`."""
    https.force_login(staff)
    return https


def page(user: User) -> str:
    return f"{USERS}{user.pk}/change/"


def form(user: User, **changes: Any) -> dict[str, Any]:
    dates = {"date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}
    return {"email": user.email, "name": user.name, "is_active": "on", **dates, **changes}


def ways(model: type[Model], depth: int = 4) -> Iterator[str]:
    """Yield every lookup from a model, over all relations, to a secret."""
    for field in model._meta.get_fields(include_hidden=True):
        if field.name in SECRETS or getattr(field, "attname", "") in SECRETS:
            yield field.name
        if field.is_relation and field.related_model and depth > 1:
            related: Any = field.related_model
            yield from (f"{field.name}__{way}" for way in ways(related, depth - 1))


@pytest.mark.parametrize("lookup", ["__startswith", *SLOW_LOOKUPS])
def test_no_lookup_reaches_a_secret(browser: Client, root: User, lookup: str) -> None:
    """Test all models of the admin: with a filter, staff could guess a session key."""
    asked = [(model._meta, way) for model in admin.site._registry for way in ways(model)]
    assert len(asked) > 10
    for meta, way in asked:
        url = f"/admin/{meta.app_label}/{meta.model_name}/"
        assert browser.get(url, {f"{way}{lookup}": "a"}).status_code in (302, 400), way
    for model_admin in admin.site._registry.values():
        names = {*model_admin.search_fields, *map(str, model_admin.list_filter)}
        names |= {*map(str, model_admin.list_display), str(model_admin.date_hierarchy)}
        assert not any(secret in name for name in names for secret in SECRETS)
    for other in ("sessions", "session__pk__startswith", "password__gt"):
        assert browser.get(USERS, {other: "a"}).status_code in (302, 400), other
    for allowed in ({}, {"q": "a"}, {"is_active__exact": "1"}, {"email__startswith": "a"}):
        assert browser.get(USERS, allowed).status_code == 200, allowed


def test_only_superusers_change_rights(browser: Client, staff: User, user: User) -> None:
    group = Group.objects.create(name="all")
    rights = {
        "is_superuser": "on",
        "is_staff": "on",
        "groups": [group.pk],
        "user_permissions": [permission.pk for permission in Permission.objects.all()],
    }
    staff.groups.add(group)
    for url in (f"{GROUPS}{group.pk}/change/", f"{GROUPS}add/"):
        form_of_group = {"name": url[-6:], "permissions": rights["user_permissions"]}
        assert browser.post(url, form_of_group).status_code == 302
    assert not Group.objects.filter(permissions__isnull=False).exists()
    before = staff.get_all_permissions()
    for target in (staff, user):
        assert browser.post(page(target), form(target, **rights)).status_code == 302
        changed = User.objects.get(pk=target.pk)
        assert not changed.is_superuser
        assert changed.is_staff == target.is_staff
        assert changed.groups.count() == target.groups.count()
    assert User.objects.get(pk=staff.pk).get_all_permissions() == before
    invitation = {"email": "new@example.com", "usable_password": "false", **rights}
    assert browser.post(f"{USERS}add/", invitation).status_code == 302
    assert not User.objects.filter(email="new@example.com", is_staff=True).exists()


@pytest.mark.parametrize("kind", ["superuser", "permission", "group"])
def test_accounts_with_more_rights_are_out_of_reach(
    browser: Client, root: User, user: User, new_browser: Any, kind: str
) -> None:
    """Password, address, sessions, deletion: each of them takes an account over or ends it."""
    target, other = (root if kind == "superuser" else user), new_browser()
    right = Permission.objects.get(codename="delete_contenttype")
    if kind == "permission":
        target.user_permissions.add(right)
    elif kind == "group":
        group = Group.objects.create(name="g")
        group.permissions.add(right)
        target.groups.add(group)
    other.force_login(target)
    assert target.email not in browser.get(USERS).content.decode()
    passwords = {"password1": "a new password", "password2": "a new password"}
    attacks = [
        (page(target), form(target, email="evil@example.com")),
        (f"{USERS}{target.pk}/password/", passwords | {"usable_password": "true"}),
        (f"{USERS}{target.pk}/delete/", {"post": "yes"}),
        (USERS, {"action": "end_sessions", "_selected_action": [target.pk]}),
        (USERS, {"action": "invite", "_selected_action": [target.pk]}),
        (USERS, {"action": "delete_selected", "_selected_action": [target.pk], "post": "yes"}),
    ]
    for url, data in attacks:
        browser.post(url, data)
    for url in (page(target), f"{USERS}{target.pk}/history/", f"{USERS}{target.pk}/password/"):
        assert browser.get(url).status_code in (302, 404), url
    now = User.objects.get(pk=target.pk)
    assert (now.email, now.password) == (target.email, target.password)
    assert other.get("/dashboard/").status_code == 200


def test_groups_with_more_rights_are_out_of_reach(browser: Client, user: User) -> None:
    """Otherwise staff could delete a group, and then change the accounts that were in it."""
    mighty, own = Group.objects.create(name="mighty"), Group.objects.create(name="own")
    mighty.permissions.add(Permission.objects.get(codename="delete_contenttype"))
    own.permissions.add(Permission.objects.get(codename="view_user"))
    user.groups.add(mighty, own)
    for group, kept in ((mighty, True), (own, False)):
        browser.post(f"{GROUPS}{group.pk}/change/", {"name": "renamed"})
        assert Group.objects.filter(name=group.name).exists() == kept
        browser.post(
            GROUPS, {"action": "delete_selected", "_selected_action": [group.pk], "post": 1}
        )
        browser.post(f"{GROUPS}{group.pk}/delete/", {"post": "yes"})
        assert Group.objects.filter(pk=group.pk).exists() == kept
    assert user.email not in browser.get(USERS).content.decode()


def test_staff_do_their_work_with_other_accounts(
    browser: Client, user: User, new_browser: Any
) -> None:
    other = new_browser()
    other.force_login(user)
    assert user.email in browser.get(USERS).content.decode()
    assert browser.post(page(user), form(user, name="Ada L.")).status_code == 302
    user.refresh_from_db()
    assert user.name == "Ada L."
    browser.post(USERS, {"action": "end_sessions", "_selected_action": [user.pk]})
    assert browser.get("/admin/password_change/")["Location"] == "/accounts/password/change/"
    assert other.get("/dashboard/").status_code == 302


def test_superusers_change_rights(https: Client, root: User, user: User) -> None:
    https.force_login(root)
    changes = {"is_staff": "on", "user_permissions": [Permission.objects.all()[0].pk]}
    assert https.post(page(user), form(user, **changes)).status_code == 302
    user.refresh_from_db()
    assert user.is_staff and user.user_permissions.count() == 1


def test_pages_of_staff_do_not_need_the_admin(browser: Client, settings: Any) -> None:
    assert 'href="/admin/"' in browser.get("/dashboard/").content.decode()
    settings.ROOT_URLCONF = "accounts.urls"
    assert browser.get("/dashboard/").status_code == 200
