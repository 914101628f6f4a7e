"""Settings of the site, read from the environment; production is the default.

Where a value is not Django's default, a line says why. A setting such as SECURE_CSP is explained
at https://docs.djangoproject.com/en/6.1/ref/settings/#secure-csp; other links are given below.
`.env.example` explains every variable. A variable can also be given as `NAME_FILE`, the path of a
file that contains the value, as Docker and Kubernetes pass secrets.
"""

import tomllib
from pathlib import Path

import django
from django.core.exceptions import ImproperlyConfigured
from outlast import hosts, logs
from outlast.csp import CSP
from outlast.environment import Env

from config import profiles

BASE_DIR = Path(__file__).resolve().parent.parent
_pyproject = tomllib.loads((BASE_DIR / "pyproject.toml").read_text("utf-8"))
SLUG, SITE_TITLE = _pyproject["project"]["name"], _pyproject["tool"]["site"]["title"]

# All files that the site writes; private, because session files are secret.
VAR = BASE_DIR / "var"
VAR.mkdir(mode=0o700, exist_ok=True)
STATIC_ROOT = VAR / "static"
STATIC_ROOT.mkdir(exist_ok=True)  # WhiteNoise warns of a missing folder

env = Env()  # type: ignore[no-untyped-call]  # django-environ has no types
env.read_file(BASE_DIR / ".env")

DEBUG = env.bool("DJANGO_DEBUG", default=False)
SECRET_KEY = env.str("DJANGO_SECRET_KEY", default="")
if not SECRET_KEY:
    raise ImproperlyConfigured(
        "DJANGO_SECRET_KEY is not set: put it into the environment or .env; .env.example has the "
        "command that makes one."
    )
SECRET_KEY_FALLBACKS = env.list("DJANGO_SECRET_KEY_FALLBACKS", default=[])

# --- Address: hosts, origins and cookies are derived from SITE_URL ---

SITE_URL, _host = hosts.normalise(
    "SITE_URL",
    env.str("SITE_URL", default="http://localhost:8000" if DEBUG else ""),
    ("https", "http") if DEBUG else ("https",),
)
HTTPS = SITE_URL.startswith("https:")
# Other host names, such as the domain without www; they redirect to SITE_URL.
_hosts = hosts.names("SITE_HOSTS", env.list("SITE_HOSTS", default=[])) - {_host}
ALLOWED_HOSTS = [_host, *_hosts, *(["localhost", "127.0.0.1", "[::1]"] if DEBUG else [])]
CSRF_TRUSTED_ORIGINS = [SITE_URL]
# Trust X-Forwarded-Proto also from other proxies than FORWARDED_ALLOW_IPS: a client that forges it
# only gets its own page over plain HTTP.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None

# --- Profile: where sessions, cache entries and live messages are kept ---

PROFILE = env.str("DJANGO_PROFILE", default="")
_profile = profiles.load(PROFILE, env, VAR, env.str("REDIS_PREFIX", default=SLUG))
SESSION_ENGINE = _profile.session_engine
CACHES = {"default": _profile.cache}
CHANNEL_LAYERS = {"default": _profile.channel_layer}
SESSION_FILE_PATH = VAR / "sessions"  # Django's default is shared with other programs
SESSION_COOKIE_AGE = 14 * 24 * 3600  # seconds, with "remember me"
# Sessions end with the browser, unless people ask to be remembered.
SESSION_EXPIRE_AT_BROWSER_CLOSE = True

# --- The library's own settings: vendor/django-outlast/README.md ---

OUTLAST = {
    "SITE_URL": SITE_URL,
    "SITE_HOSTS": tuple(_hosts),
    "PROFILE": PROFILE,
    "WORKERS": env.int("WEB_CONCURRENCY", default=1),  # for the checks; uvicorn reads it itself
    # The bearer token of /metrics; without it, /metrics is 404.
    "METRICS_TOKEN": env.str("METRICS_TOKEN", default=""),
    # Seconds until a session ends: without a request, and since the login; 0: never.
    "SESSION_IDLE_SECONDS": env.int("SESSION_IDLE_SECONDS", default=SESSION_COOKIE_AGE),
    "SESSION_ABSOLUTE_SECONDS": env.int("SESSION_ABSOLUTE_SECONDS", default=30 * 24 * 3600),
    "PAGE_THREADS": env.int("PAGE_THREADS", default=8, minimum=1),
    # Hashing a password takes long: POSTs to these paths use at most half of the threads.
    "PAGE_QUEUED_PATHS": (
        "/accounts/login/",
        "/accounts/confirm/",
        "/accounts/password/",
        "/accounts/sign-up/",
        "/admin/login/",
    ),
    "DATABASE_STATEMENT_SECONDS": env.int("DATABASE_STATEMENT_SECONDS", default=0),
}

# --- Application ---

INSTALLED_APPS = [
    "outlast",  # first: overrides runserver
    "accounts",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
]

MIDDLEWARE = [
    "outlast.health.health",  # first: load balancers send another host name, over plain HTTP
    "outlast.logs.log_requests",
    "django.middleware.security.SecurityMiddleware",
    "outlast.headers.security_headers",
    "outlast.csp.ContentSecurityPolicyMiddleware",  # Django 6's, also on 5.2
    "outlast.hosts.redirect_to_site",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "outlast.requests.StrictRequestMiddleware",
    "outlast.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "outlast.middleware.AuthenticationMiddleware",
    "accounts.middleware.keep_failures",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"
WSGI_APPLICATION = "config.wsgi.application"
# For development: if a service is unavailable, the error page says what to do.
DEFAULT_EXCEPTION_REPORTER = "outlast.outage.ExceptionReporter"
DEFAULT_EXCEPTION_REPORTER_FILTER = "outlast.outage.ExceptionReporterFilter"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "outlast.csp.csp",
                "config.context_processors.site",
            ],
        },
    },
]

# --- Database ---

DATABASES = env.databases(default=f"sqlite:///{VAR / 'db.sqlite3'}")
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Accounts ---

# Users log in by their email address.
# https://docs.djangoproject.com/en/6.1/topics/auth/customizing/#substituting-a-custom-user-model
AUTH_USER_MODEL = "accounts.User"
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "dashboard"
LOGOUT_REDIRECT_URL = "login"
# Counts failed logins; packages add theirs after it: docs/packages.md.
AUTHENTICATION_BACKENDS = ["accounts.throttle.ThrottledBackend"]
# https://docs.djangoproject.com/en/6.1/topics/auth/passwords/
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
PASSWORD_HASHERS = [
    "outlast.hashers.Argon2PasswordHasher",
    # Read only: hashes of older sites, replaced at the next login.
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
    "django.contrib.auth.hashers.ScryptPasswordHasher",
]
PASSWORD_RESET_TIMEOUT = 3600  # seconds, for all links; Django's default of three days is long
# Whether anyone can sign up; invitations work in any case.
SIGN_UP = env.bool("SIGN_UP", default=False)
MAIL_SECONDS = 0.5  # how long pages that send a link take, see accounts/mail.py
# Limits on failed logins: accounts/throttle.py explains what is counted.
THROTTLE_SECONDS = 15 * 60
THROTTLE_PAIR_LIMIT = 5  # failures per account and client address
THROTTLE_ACCOUNT_LIMIT = 30  # failures per account from unknown addresses
THROTTLE_DAY_LIMIT = 100  # the same, in a day

# --- Mail ---

_mail = env.mailer("EMAIL_URL", "consolemail://" if DEBUG else "smtp://localhost:25")
if django.VERSION >= (6, 1):
    MAILERS = {"default": _mail}  # https://docs.djangoproject.com/en/6.1/topics/email/
else:
    EMAIL_BACKEND, _options = _mail["BACKEND"], _mail["OPTIONS"]
    EMAIL_HOST, EMAIL_PORT = _options.get("host", ""), _options.get("port", 0)
    EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = _options.get("username"), _options.get("password")
    EMAIL_USE_TLS, EMAIL_USE_SSL = _options.get("use_tls"), _options.get("use_ssl")
    EMAIL_FILE_PATH, EMAIL_TIMEOUT = _options.get("file_path"), _options.get("timeout")
DEFAULT_FROM_EMAIL = SERVER_EMAIL = env.str("DEFAULT_FROM_EMAIL", default=f"no-reply@{_host}")

# --- Cookies and transport: strict if the site is served over HTTPS ---

# The prefix makes browsers refuse the cookie without Secure, from a subdomain, or with a path.
SESSION_COOKIE_NAME = "__Host-sessionid" if HTTPS else "sessionid"
CSRF_COOKIE_NAME = "__Host-csrftoken" if HTTPS else "csrftoken"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
CSRF_COOKIE_HTTPONLY = True  # scripts take the token from the page: docs/api.md
SECURE_SSL_REDIRECT = HTTPS
# An hour at first; docs/security.md explains how to raise it.
SECURE_HSTS_SECONDS = env.int("SECURE_HSTS_SECONDS", default=3600) if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = env.bool("SECURE_HSTS_INCLUDE_SUBDOMAINS", default=False)
# Subdomains and preloading cannot be undone quickly, so owners have to turn them on.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
# Only this site's own files, no inline code; templates may use `csp_nonce`.
# https://docs.djangoproject.com/en/6.1/ref/csp/
SECURE_CSP = {
    "default-src": [CSP.SELF],
    "script-src": [CSP.SELF, CSP.NONCE],
    "style-src": [CSP.SELF, CSP.NONCE],
    "img-src": [CSP.SELF, "data:"],
    "base-uri": [CSP.NONE],
    "frame-ancestors": [CSP.NONE],  # follows X-Frame-Options
    "object-src": [CSP.NONE],
}

# --- Log (JSON on standard error in production, Django's own in development), metrics ---

LOGGING = {} if DEBUG else logs.CONFIG

# --- Language, time, static files ---

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"  # pages show dates in the reader's own zone

STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
# In production, file names contain a hash of the content, so browsers can cache them forever.
# https://whitenoise.readthedocs.io/en/stable/django.html
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "outlast.static.StaticFilesStorage"
    },
}
