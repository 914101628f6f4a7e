"""Mail servers from `EMAIL_URL`."""

from typing import Any

TIMEOUT = 10  # seconds; otherwise a mail server that hangs would occupy a thread forever


def mailer(url: dict[str, Any]) -> dict[str, Any]:
    """Return an entry of `MAILERS` for what `env.email_url()` has read."""
    backend, options = url["EMAIL_BACKEND"], dict[str, Any]()
    if backend.endswith(".console.EmailBackend"):
        backend = "accounts.mail.ConsoleBackend"
    elif backend.endswith(".filebased.EmailBackend"):
        options = {"file_path": url["EMAIL_FILE_PATH"]}
    elif backend.endswith(".smtp.EmailBackend"):
        options = {
            "host": url["EMAIL_HOST"],
            "port": url["EMAIL_PORT"] or 25,
            "username": url["EMAIL_HOST_USER"] or "",
            "password": url["EMAIL_HOST_PASSWORD"] or "",
            "use_tls": url.get("EMAIL_USE_TLS", False),
            "use_ssl": url.get("EMAIL_USE_SSL", False),
            "timeout": TIMEOUT,
        }
    return {"BACKEND": backend, "OPTIONS": options}
