"""Mail settings from `EMAIL_URL`, in the words of the Django that runs."""

from typing import Any

import django

TIMEOUT = 10  # seconds; without one a mail server that hangs would keep a thread for good
# The options of Django 6.1's backends, by the settings that Django 5.2 has instead.
OPTIONS = {
    "django.core.mail.backends.smtp.EmailBackend": {
        "EMAIL_HOST": "host",
        "EMAIL_PORT": "port",
        "EMAIL_HOST_USER": "username",
        "EMAIL_HOST_PASSWORD": "password",
        "EMAIL_USE_TLS": "use_tls",
        "EMAIL_USE_SSL": "use_ssl",
        "EMAIL_TIMEOUT": "timeout",
    },
    "django.core.mail.backends.filebased.EmailBackend": {"EMAIL_FILE_PATH": "file_path"},
}


def load(url: dict[str, Any]) -> dict[str, Any]:
    """Return the settings for what `env.email_url()` has read: Django 6.1 knows mailers."""
    given = {name: value for name, value in url.items() if value is not None}
    values = {"EMAIL_TIMEOUT": TIMEOUT} | given
    if values["EMAIL_BACKEND"].endswith(".console.EmailBackend"):
        values["EMAIL_BACKEND"] = "accounts.mail.ConsoleBackend"
    if django.VERSION < (6, 1):
        return values
    backend = values["EMAIL_BACKEND"]
    options = {
        option: values[name] for name, option in OPTIONS.get(backend, {}).items() if name in values
    }
    return {"MAILERS": {"default": {"BACKEND": backend, "OPTIONS": options}}}
