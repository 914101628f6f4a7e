"""What a visitor does with each package; a function has the name of its package.

`guest` is a browser that is not logged in, `member` that of a superuser who is logged in.
"""

import time

from proof.guests.visitor import Visitor, found
from proof.site import EMAIL, PASSWORD, Site


def django_allauth(site: Site, guest: Visitor, member: Visitor) -> None:
    address = f"new{time.time_ns()}@example.com"
    passwords = {"password1": PASSWORD, "password2": PASSWORD}
    guest.fill_in("/auth/signup/", {"email": address} | passwords)
    guest.page("/dashboard/", address)
    guest.page("/auth/email/", address)
    guest.page("/auth/password/change/", "Change Password")
    guest.fill_in("/auth/logout/", {})
    guest.page("/auth/login/", "Sign In")
    guest.fill_in("/auth/login/", {"login": address.upper(), "password": PASSWORD})
    guest.page("/accounts/sessions/", "Your sessions")
    guest.fill_in("/auth/logout/", {})
    guest.fill_in("/auth/login/code/", {"email": address})
    mails = sorted(site.folder.glob("var/mail/*"), key=lambda path: path.stat().st_mtime)
    code = found(r"^([A-Z0-9]{3,4}-?[A-Z0-9]{3,4})$", mails[-1].read_text("utf-8"))
    guest.fill_in("/auth/login/code/confirm/", {"code": code})
    guest.page("/dashboard/", address)
    guest.cookies.clear()
    for _ in range(7):
        response = guest.submit("/auth/login/", {"login": address, "password": "wrong"})
        assert response.status_code in (200, 429)
    assert not guest.logged_in


def djangorestframework(site: Site, guest: Visitor, member: Visitor) -> None:
    page = member.page("/api/groups/", "Group List")
    token = found(r'"csrfToken": "(\w+)"|name="csrfmiddlewaretoken" value="(\w+)"', page.text)
    group = {"name": str(time.time_ns())}
    refused = member.post("/api/groups/", json=group, headers={"Origin": "https://x"})
    assert refused.status_code == 403, refused
    headers = {"X-CSRFToken": token, "Origin": site.url}
    made = member.post("/api/groups/", json=group, headers=headers)
    assert made.status_code == 201, made.text
    member.page("/api/groups/", group["name"])
    guest.page("/api/login/", "Log in")
    assert guest.get("/api/groups/").status_code in (401, 403)
    got = guest.post("/api/token/", json={"username": EMAIL, "password": PASSWORD})
    headers = {"Authorization": f"Token {got.json()['token']}", "Accept": "application/json"}
    assert guest.get("/api/groups/", headers=headers).status_code == 200
    codes = [guest.get("/api/limited/", headers=headers).status_code for _ in range(5)]
    # The cache remembers the requests of the visit before.
    assert codes in ([200] * 3 + [429] * 2, [429] * 5), codes


def django_debug_toolbar(site: Site, guest: Visitor, member: Visitor) -> None:
    page = member.page("/dashboard/")
    if site.variables["DJANGO_DEBUG"] == "0":
        assert "djDebug" not in page.text
        return
    store = found(r'data-(?:request|store)-id="([\w-]+)"', page.text)
    for panel in ("SQLPanel", "CachePanel", "HeadersPanel", "TemplatesPanel", "SettingsPanel"):
        query = f"?request_id={store}&store_id={store}&panel_id={panel}"
        content = member.get(f"/__debug__/render_panel/{query}").json()["content"]
        assert content and "Data for this panel isn" not in content


def django_guardian(site: Site, guest: Visitor, member: Visitor) -> None:
    printed = site.manage("shell", "-c", """if True:
        from django.contrib.auth.models import Group
        from guardian.shortcuts import assign_perm, get_objects_for_user
        from accounts.models import User
        user = User.objects.get_or_create(email="guarded@example.com")[0]
        group = Group.objects.get_or_create(name="guarded")[0]
        assert not user.has_perm("auth.change_group", group)
        assign_perm("auth.change_group", user, group)
        user = User.objects.get(pk=user.pk)
        print(user.has_perm("auth.change_group", group))
        print(get_objects_for_user(user, "auth.change_group"))
        group.delete()
    """)  # fmt: skip
    assert "True\n<QuerySet [<Group: guarded>]>" in printed, printed
    member.page("/admin/accounts/user/", EMAIL)


def django_constance(site: Site, guest: Visitor, member: Visitor) -> None:
    page = member.page("/admin/constance/config/", "GREETING")
    version = found(r'name="version" value="(\w+)"', page.text)
    form = {"version": version, "GREETING": f"Hello {time.time_ns()}", "_save": "Save"}
    member.fill_in("/admin/constance/config/", form)
    member.page("/greeting/", form["GREETING"])


def django_hijack(site: Site, guest: Visitor, member: Visitor) -> None:
    printed = site.manage("shell", "-c", """if True:
        from accounts.models import User
        print("pk", User.objects.get_or_create(email="hijacked@example.com")[0].pk)
    """)  # fmt: skip
    member.page("/admin/accounts/user/", "hijacked@example.com")
    user = {"user_pk": found(r"pk (\d+)", printed), "next": "/dashboard/"}
    member.fill_in("/dashboard/", user, "/hijack/acquire/")
    assert "/hijack/release/" in member.page("/dashboard/", "hijacked@example.com").text
    member.page("/accounts/sessions/", "Your sessions")
    member.fill_in("/dashboard/", {"next": "/dashboard/"}, "/hijack/release/")
    member.page("/dashboard/", EMAIL)


def django_otp(site: Site, guest: Visitor, member: Visitor) -> None:
    printed = site.manage("shell", "-c", f"""if True:
        from accounts.models import User
        from django_otp.plugins.otp_static.models import StaticDevice
        from django_otp.plugins.otp_totp.models import TOTPDevice
        user = User.objects.get(email="{EMAIL}")
        TOTPDevice.objects.get_or_create(user=user, name="app")
        device = StaticDevice.objects.get_or_create(user=user, name="backup")[0]
        token = device.token_set.create(token=device.token_set.model.random_token())
        print("token", token.token)
    """)  # fmt: skip
    guest.page("/otp-admin/login/", "otp_token")
    form = {"username": EMAIL, "password": PASSWORD, "otp_token": "000000"}
    assert guest.submit("/otp-admin/login/", form).status_code == 200
    time.sleep(1.5)  # a device is locked for a second after a wrong token
    form |= {
        "otp_token": found(r"token (\w+)", printed),
        "otp_device": "otp_static.staticdevice/1",
    }
    guest.fill_in("/otp-admin/login/?next=/otp-admin/", form)
    page = guest.page("/otp-admin/otp_totp/totpdevice/", "app")
    guest.page(found(r"(/otp-admin/otp_totp/totpdevice/\d+/change/)", page.text))


def django_simple_history(site: Site, guest: Visitor, member: Visitor) -> None:
    title = f"First {time.time_ns()}"
    member.fill_in("/admin/polls/poll/add/", {"title": title})
    link = found(r"(/admin/polls/poll/\d+/)change/", member.page("/admin/polls/poll/").text)
    member.fill_in(f"{link}change/", {"title": "Second"})
    page = member.page(f"{link}history/", title)
    assert "Second" in page.text
    assert EMAIL in page.text, "who changed it is not recorded"
