"""Well-known packages in a generated site, each in an environment of its own.

`nox -s guests` does with each what its tutorial does, on the profiles `database` and `redis`, with
the settings of development and of production, and writes docs/guests.md. `-- NAME …` takes some
of them and only prints.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version as version_of
from pathlib import Path

import httpx2

from proof.conftest import servers
from proof.site import EMAIL, PASSWORD, TEMPLATE, Browser, Site

PROFILES = ["database", "redis"]
TABLE = TEMPLATE / "docs" / "guests.md"
# Inline code that a policy without 'unsafe-inline' blocks: a page that holds any is broken.
SCRIPT = re.compile(r"<script(?![^>]*\b(?:src=|nonce=|type=\"(?:application/json|text/x-)))", re.I)
HANDLER = re.compile(r"<[a-z][^>]*\son[a-z]+\s*=", re.I)
STYLE = re.compile(r"<style(?![^>]*nonce=)|<[a-z][^>]*\sstyle\s*=", re.I)
INLINE = {"script-src": (SCRIPT, HANDLER), "style-src": (STYLE,)}


@dataclass
class Guest:
    """A package, what its tutorial adds to a site, and what a visitor then does."""

    name: str
    visit: Callable[["Visit"], None]
    done: str
    settings: str = ""
    urls: str = ""
    files: dict[str, str] = field(default_factory=dict)
    requirement: str = ""
    relaxed: str = ""  # for which requests the policy allows inline code


@dataclass
class Visit:
    """A site with a guest, while it is served."""

    site: Site
    production: bool

    def browser(self) -> Browser:
        """Return a browser of a person who is not logged in."""
        return self.site.browser()

    @contextmanager
    def member(self) -> Iterator[Browser]:
        """Give the browser of a superuser who is logged in."""
        with self.browser() as browser:
            assert browser.log_in().status_code == 302
            yield browser

    def page(self, browser: Browser, path: str, expected: str = "") -> httpx2.Response:
        """Fetch a page that must work, inline code included; return it."""
        response = browser.get(path, headers={"Accept": "text/html"}, follow_redirects=True)
        assert response.status_code == 200, (path, response.status_code, words(response))
        assert expected in response.text, f"{path}: no {expected} in {words(response)}"
        allowed = response.headers.get("content-security-policy", "")
        for directive, patterns in INLINE.items():
            rule = re.search(rf"{directive} ([^;]*)", allowed)
            if allowed and rule and "unsafe-inline" not in rule[1]:
                found = [match[0] for each in patterns for match in each.finditer(response.text)]
                assert not found, f"{path}: {directive} blocks {found[:5]}"
        for static in set(re.findall(r'(?:src|href)="(/static/[^"?#]+)', response.text)):
            assert browser.get(static).status_code == 200, f"{path}: no {static}"
        return response

    def submit(self, browser: Browser, path: str, **form: str) -> httpx2.Response:
        """Send the form of a page; it must not be shown again with errors."""
        response = browser.submit(path, form)
        assert response.status_code in (302, 303), f"{path}: {words(response)}"
        return response

    def shell(self, code: str) -> str:
        """Run code in the site; return what it prints."""
        return self.site.manage("shell", "-c", textwrap.dedent(code))


def words(response: httpx2.Response) -> str:
    """Return what a page says, without its tags."""
    text = re.sub(r"<(style|script|svg).*?</\1>|<[^>]*>", " ", response.text, flags=re.DOTALL)
    return " ".join(text.split())[:1500]


def allauth(visit: Visit) -> None:
    address = f"new{time.time_ns()}@example.com"
    with visit.browser() as browser:
        visit.page(browser, "/auth/signup/", "Sign Up")
        visit.submit(
            browser, "/auth/signup/", email=address, password1=PASSWORD, password2=PASSWORD
        )
        visit.page(browser, "/dashboard/", address)
        visit.page(browser, "/auth/email/", address)
        visit.page(browser, "/auth/password/change/")
        visit.submit(browser, "/auth/logout/")
        visit.page(browser, "/auth/login/", "Sign In")
        visit.submit(browser, "/auth/login/", login=address.upper(), password=PASSWORD)
        visit.page(browser, "/dashboard/", address)
        visit.page(browser, "/accounts/sessions/", "Your sessions")
    with visit.browser() as browser:  # a code by mail
        visit.submit(browser, "/auth/login/code/", email=address)
        mails = visit.site.folder.glob("var/mail/*")
        newest = max(mails, key=lambda path: path.stat().st_mtime).read_text("utf-8")
        code = re.search(r"^([A-Z0-9]{3,4}-?[A-Z0-9]{3,4})$", newest, re.MULTILINE)
        assert code, newest
        visit.submit(browser, "/auth/login/code/confirm/", code=code[1])
        visit.page(browser, "/dashboard/", address)
    with visit.browser() as browser:
        for _ in range(7):
            response = browser.submit("/auth/login/", {"login": address, "password": "wrong"})
        assert response.status_code in (200, 429)
        assert not browser.logged_in


def rest_framework(visit: Visit) -> None:
    with visit.member() as browser:
        page = visit.page(browser, "/api/groups/", "Group List")
        token = re.search(
            r'"csrfToken": "(\w+)"|name="csrfmiddlewaretoken" value="(\w+)"', page.text
        )
        assert token, page.text
        headers = {"X-CSRFToken": token[1] or token[2], "Origin": visit.site.url}
        refused = browser.post("/api/groups/", json={"name": "x"}, headers={"Origin": "https://x"})
        assert refused.status_code == 403, refused
        name = str(time.time_ns())
        made = browser.post("/api/groups/", json={"name": name}, headers=headers)
        assert made.status_code == 201, made.text
        assert name in visit.page(browser, "/api/groups/").text
    with visit.browser() as browser:
        assert browser.get("/api/groups/").status_code in (401, 403)
        got = browser.post("/api/token/", json={"username": EMAIL, "password": PASSWORD})
        assert got.status_code == 200, got.text
        headers = {"Authorization": f"Token {got.json()['token']}", "Accept": "application/json"}
        assert browser.get("/api/groups/", headers=headers).status_code == 200
        codes = [browser.get("/api/limited/", headers=headers).status_code for _ in range(5)]
        # The cache remembers the requests of the visit before.
        assert codes[-1] == 429 and (codes[0] == 200 or not visit.production), codes
        visit.page(browser, "/api/login/", "Log in")


def debug_toolbar(visit: Visit) -> None:
    with visit.member() as browser:
        page = visit.page(browser, "/dashboard/", "" if visit.production else "djDebug")
        if visit.production:
            assert "djDebug" not in page.text
            return
        store = re.search(r'data-(?:request|store)-id="([\w-]+)"', page.text)
        assert store, page.text[-3000:]
        for panel in ("SQLPanel", "CachePanel", "HeadersPanel", "TemplatesPanel", "SettingsPanel"):
            query = f"?request_id={store[1]}&store_id={store[1]}&panel_id={panel}"
            response = browser.get(f"/__debug__/render_panel/{query}")
            assert response.status_code == 200 and response.json()["content"], response.text
            assert "Data for this panel isn" not in response.text


def guardian(visit: Visit) -> None:
    told = visit.shell("""
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
    """)
    assert "True\n<QuerySet [<Group: guarded>]>" in told, told
    with visit.member() as browser:
        visit.page(browser, "/admin/accounts/user/", EMAIL)


def constance(visit: Visit) -> None:
    with visit.member() as browser:
        visit.page(browser, "/admin/constance/config/", "GREETING")
        page = browser.get("/admin/constance/config/")
        version = re.search(r'name="version" value="(\w+)"', page.text)
        assert version
        form = {"version": version[1], "GREETING": f"Hello {time.time_ns()}", "_save": "Save"}
        visit.submit(browser, "/admin/constance/config/", **form)
        visit.page(browser, "/greeting/", form["GREETING"])


def hijack(visit: Visit) -> None:
    key = visit.shell("""
        from accounts.models import User
        print("pk", User.objects.get_or_create(email="hijacked@example.com")[0].pk)
    """)
    pk = re.search(r"pk (\d+)", key)
    assert pk
    with visit.member() as browser:
        visit.page(browser, "/admin/accounts/user/", "hijacked@example.com")
        page = browser.get("/dashboard/")
        done = browser.post_form(
            page, {"user_pk": pk[1], "next": "/dashboard/"}, "/hijack/acquire/"
        )
        assert done.status_code == 302, done.text
        page = visit.page(browser, "/dashboard/", "hijacked@example.com")
        assert "/hijack/release/" in page.text, "the notification is missing"
        visit.page(browser, "/accounts/sessions/", "Your sessions")
        done = browser.post_form(page, {"next": "/dashboard/"}, "/hijack/release/")
        assert done.status_code == 302, done.text
        visit.page(browser, "/dashboard/", EMAIL)


def otp(visit: Visit) -> None:
    told = visit.shell(f"""
        from accounts.models import User
        from django_otp.plugins.otp_static.models import StaticDevice
        from django_otp.plugins.otp_totp.models import TOTPDevice
        user = User.objects.get(email="{EMAIL}")
        TOTPDevice.objects.get_or_create(user=user, name="app")
        device = StaticDevice.objects.get_or_create(user=user, name="backup")[0]
        token = device.token_set.create(token=device.token_set.model.random_token())
        print("token", token.token)
    """)
    token = re.search(r"token (\w+)", told)
    assert token
    with visit.browser() as browser:
        visit.page(browser, "/otp-admin/login/", "otp_token")
        form = {"username": EMAIL, "password": PASSWORD, "otp_token": "000000"}
        assert browser.submit("/otp-admin/login/", form).status_code == 200
        time.sleep(1.5)  # a device is locked for a second after a wrong token
        right = form | {"otp_token": token[1], "otp_device": "otp_static.staticdevice/1"}
        done = browser.submit("/otp-admin/login/?next=/otp-admin/", right)
        assert done.status_code == 302, (done.status_code, done.headers, words(done))
        visit.page(browser, "/otp-admin/", "TOTP")
        page = visit.page(browser, "/otp-admin/otp_totp/totpdevice/", "app")
        link = re.search(r"/otp-admin/otp_totp/totpdevice/\d+/change/", page.text)
        assert link
        visit.page(browser, link[0])


def simple_history(visit: Visit) -> None:
    with visit.member() as browser:
        form = {"title": f"First {time.time_ns()}"}
        visit.submit(browser, "/admin/polls/poll/add/", **form)
        pk = re.search(r"/admin/polls/poll/(\d+)/change/", browser.get("/admin/polls/poll/").text)
        assert pk
        visit.submit(browser, f"/admin/polls/poll/{pk[1]}/change/", title="Second")
        page = visit.page(browser, f"/admin/polls/poll/{pk[1]}/history/", form["title"])
        assert EMAIL in page.text, "who changed it is not recorded"
    told = visit.shell("""
        from polls.models import Poll
        print([each.title for each in Poll.objects.order_by("pk").last().history.all()])
    """)
    assert "Second" in told and form["title"] in told


# The middleware of the site's docs/packages.md.
POLICY = """
from django.conf import settings
from outlast.csp import CSP, csp_override

RELAXED = {{
    **settings.SECURE_CSP,
    "script-src": [CSP.SELF, CSP.UNSAFE_INLINE],
    "style-src": [CSP.SELF, CSP.UNSAFE_INLINE],
}}


def guest_policy(get_response):
    relaxed = csp_override(RELAXED)(get_response)
    return lambda request: relaxed(request) if {condition} else get_response(request)
"""

POLLS = {
    "polls/__init__.py": "",
    "polls/migrations/__init__.py": "",
    "polls/models.py": """
        from django.db import models
        from simple_history.models import HistoricalRecords
        class Poll(models.Model):
            title = models.CharField(max_length=200)
            history = HistoricalRecords()
        """,
    "polls/admin.py": """
        from django.contrib import admin
        from simple_history.admin import SimpleHistoryAdmin
        from polls.models import Poll
        admin.site.register(Poll, SimpleHistoryAdmin)
        """,
}

GUESTS = [
    Guest(
        "django-allauth", allauth,
        "sign-up, login, logout, login by a code in a mail, change of password, addresses",
        settings="""
            INSTALLED_APPS += ["allauth", "allauth.account"]
            MIDDLEWARE += ["allauth.account.middleware.AccountMiddleware"]
            AUTHENTICATION_BACKENDS += ["allauth.account.auth_backends.AuthenticationBackend"]
            ACCOUNT_USER_MODEL_USERNAME_FIELD = None
            ACCOUNT_LOGIN_METHODS = {"email"}
            ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
            ACCOUNT_EMAIL_VERIFICATION = "optional"
            ACCOUNT_LOGIN_BY_CODE_ENABLED = True
            """,
        urls='urlpatterns += [path("auth/", include("allauth.urls"))]',
    ),
    Guest(
        "djangorestframework", rest_framework,
        "browsable API, session and token authentication, CSRF, throttling, login page",
        settings="""
            INSTALLED_APPS += ["rest_framework", "rest_framework.authtoken"]
            REST_FRAMEWORK = {
                "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
                "DEFAULT_AUTHENTICATION_CLASSES": [
                    "rest_framework.authentication.SessionAuthentication",
                    "rest_framework.authentication.TokenAuthentication",
                ],
            }
            """,
        relaxed="request.path.startswith('/api/')",
        urls="from config.api import urlpatterns as api\nurlpatterns += api",
        files={"config/api.py": """
            from django.contrib.auth.models import Group
            from django.urls import include, path
            from rest_framework import routers, serializers, views, viewsets
            from rest_framework.authtoken.views import obtain_auth_token
            from rest_framework.response import Response
            from rest_framework.throttling import UserRateThrottle
            class GroupSerializer(serializers.HyperlinkedModelSerializer):
                class Meta:
                    model = Group
                    fields = ["url", "name"]
            class GroupViewSet(viewsets.ModelViewSet):
                queryset = Group.objects.order_by("name")
                serializer_class = GroupSerializer
            class Limit(UserRateThrottle):
                rate = "3/min"
            class Limited(views.APIView):
                throttle_classes = [Limit]
                def get(self, request):
                    return Response({})
            router = routers.DefaultRouter()
            router.register("groups", GroupViewSet)
            urlpatterns = [
                path("api/token/", obtain_auth_token),
                path("api/limited/", Limited.as_view()),
                path("api/", include("rest_framework.urls")),
                path("api/", include(router.urls)),
            ]
            """},
    ),
    Guest(
        "django-debug-toolbar", debug_toolbar, "toolbar on a page, five of its panels",
        settings="""
            if DEBUG:
                INSTALLED_APPS += ["debug_toolbar"]
                MIDDLEWARE = ["debug_toolbar.middleware.DebugToolbarMiddleware", *MIDDLEWARE]
                INTERNAL_IPS = ["127.0.0.1"]
            """,
        urls="""
            from django.conf import settings
            if settings.DEBUG:
                urlpatterns += [path("__debug__/", include("debug_toolbar.urls"))]
            """,
    ),
    Guest(
        "django-guardian", guardian, "a permission for one object, objects of a user, admin",
        settings="""
            INSTALLED_APPS += ["guardian"]
            AUTHENTICATION_BACKENDS += ["guardian.backends.ObjectPermissionBackend"]
            """,
    ),
    Guest(
        "django-constance", constance, "a setting changed in the admin and shown on a page",
        settings="""
            INSTALLED_APPS += ["constance"]
            CONSTANCE_BACKEND = "constance.backends.database.DatabaseBackend"
            CONSTANCE_DATABASE_CACHE_BACKEND = "default"
            CONSTANCE_CONFIG = {"GREETING": ("Hello", "What the page says")}
            """,
        relaxed="request.path.startswith('/admin/constance/')",
        urls="""
            from constance import config
            from django.http import HttpResponse
            urlpatterns += [path("greeting/", lambda request: HttpResponse(config.GREETING))]
            """,
    ),
    Guest(
        "django-hijack", hijack, "another user's account taken and released, notification",
        settings="""
            INSTALLED_APPS += ["hijack", "hijack.contrib.admin"]
            MIDDLEWARE += ["hijack.middleware.HijackUserMiddleware"]
            """,
        urls='urlpatterns += [path("hijack/", include("hijack.urls"))]',
        relaxed="getattr(request.user, 'is_hijacked', False)",
    ),
    Guest(
        "django-otp", otp, "admin with a second factor, static and TOTP devices",
        requirement="django-otp[qrcode]",
        settings="""
            INSTALLED_APPS += [
                "django_otp", "django_otp.plugins.otp_totp", "django_otp.plugins.otp_static"
            ]
            MIDDLEWARE += ["django_otp.middleware.OTPMiddleware"]
            """,
        urls="""
            from django_otp.admin import OTPAdminSite
            otp_site = OTPAdminSite("otp-admin")
            from django_otp.plugins.otp_totp.admin import TOTPDevice, TOTPDeviceAdmin
            otp_site.register(TOTPDevice, TOTPDeviceAdmin)
            urlpatterns += [path("otp-admin/", otp_site.urls)]
            """,
    ),
    Guest(
        "django-simple-history", simple_history, "history of a model, with who changed it, admin",
        settings="""
            INSTALLED_APPS += ["simple_history", "polls"]
            MIDDLEWARE += ["simple_history.middleware.HistoryRequestMiddleware"]
            """,
        files=POLLS,
        relaxed="request.path.startswith('/admin/polls/')",
    ),
]  # fmt: skip


def make_environment(folder: Path, guest: Guest) -> str:
    """Return the interpreter of a new environment: what is installed here, and the guest."""
    uv = os.environ.get("UV") or shutil.which("uv") or "uv"
    python = str(folder / "bin" / "python")
    here = subprocess.run([uv, "pip", "freeze", "-q", f"--python={sys.executable}"],
                          capture_output=True, text=True, check=True).stdout  # fmt: skip
    subprocess.run([uv, "venv", "-q", f"--python={sys.executable}", str(folder)], check=True)
    subprocess.run(
        [uv, "pip", "install", "-q", f"--python={python}", "-r", "-",
         guest.requirement or guest.name],
        input=here, text=True, check=True,
    )  # fmt: skip
    return python


def edit(guest: Guest) -> Callable[[Path], None]:
    """Return a function that adds a guest to the files of a generated site."""

    def add(folder: Path) -> None:
        files, settings = guest.files, textwrap.dedent(guest.settings)
        if guest.relaxed:
            files = files | {"config/policies.py": POLICY.format(condition=guest.relaxed)}
            settings += 'MIDDLEWARE += ["config.policies.guest_policy"]\n'
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text), "utf-8")
        for name, text in (("settings", settings), ("urls", guest.urls)):
            with (folder / "config" / f"{name}.py").open("a", encoding="utf-8") as file:
                file.write("\n" + textwrap.dedent(text))

    return add


def try_out(guest: Guest, folder: Path, python: str, profile: str) -> None:
    """Generate a site with the guest and visit it; raise AssertionError where it fails."""
    with ExitStack() as stack:
        variables = {"EMAIL_URL": f"filemail:///{folder / profile / 'my-site' / 'var' / 'mail'}"}
        if profile.startswith("redis"):
            variables |= stack.enter_context(servers(profile)).environment()
        site = Site(folder / profile, profile, variables, edit=edit(guest), python=python)
        if "polls" in guest.settings:
            site.manage("makemigrations", "polls")
            site.manage("migrate")
        for debug in ("0", "1"):
            site.variables["DJANGO_DEBUG"] = debug
            with site.running():
                guest.visit(Visit(site, production=debug == "0"))
            log = (site.folder / "var" / "server.log").read_text("utf-8")
            assert "Traceback" not in log, log[log.index("Traceback") - 500 :][:4000]


def main(names: Iterable[str]) -> int:
    """Try the guests, print how it went, write the table; return the number of failures."""
    chosen = [guest for guest in GUESTS if guest.name in names] if names else GUESTS
    rows, failed = [], 0
    with tempfile.TemporaryDirectory(prefix="guests-") as folder:
        for guest in chosen:
            home = Path(folder) / guest.name
            python = make_environment(home / "env", guest)
            pattern = f"{guest.name.replace('-', '_')}-*.dist-info"
            installed = (
                next((home / "env").rglob(pattern)).name.split("-")[1].removesuffix(".dist")
            )
            results = []
            for profile in PROFILES:
                try:
                    try_out(guest, home, python, profile)
                    results.append("works")
                except (AssertionError, httpx2.HTTPError) as error:
                    failed += 1
                    results.append("fails")
                    print(f"{guest.name} on {profile}: {error}\n{traceback.format_exc(-2)}")
            print(f"{guest.name} {installed}: {', '.join(results)}", flush=True)
            rows.append(f"| {guest.name} | {installed} | {guest.done} | {' | '.join(results)} |")
    if not names:
        TABLE.write_text(table(rows), "utf-8")
    return failed


def table(rows: list[str]) -> str:
    """Return docs/guests.md."""
    versions = f"Python {'.'.join(map(str, sys.version_info[:2]))}, Django {version_of('django')}"
    head = [
        "# Packages in a generated site",
        "",
        "`nox -s guests` writes this table. Each package is added to a new site in an environment",
        "of its own, as its documentation says, and used over HTTPS, with `DJANGO_DEBUG=0` and 1.",
        "No page may hold inline code that its Content-Security-Policy blocks; pages of",
        f"{', '.join(guest.name for guest in GUESTS if guest.relaxed)} get a policy of their own,",
        "as in the site's `docs/packages.md`.",
        "",
        f"Last run on {time.strftime('%Y-%m-%d')} with {versions}.",
        "",
        "| package | version | what was done | `database` | `redis` |",
        "|---|---|---|---|---|",
    ]
    return "\n".join([*head, *rows, ""])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
