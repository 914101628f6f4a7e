"""Make the secrets that compose.yaml passes to the containers: `python deploy/make_secrets.py`.

Writes one file per secret to var/secrets, which is never committed. Existing files are kept, so
you can run it again when an upgrade needs another secret.
"""

import secrets
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "var" / "secrets"
REDIS_PORT = 7001  # of the one Redis in compose.yaml
PASSWORDS = (
    "postgres_password",
    "redis_password",  # the site's own
    "redis_replica_password",
    "redis_guard_password",  # with which the Sentinels log in to the servers
    "redis_sentinel_password",  # with which the site logs in to the Sentinels
    "redis_admin_password",  # for administrators
)


def main() -> None:
    FOLDER.mkdir(mode=0o700, parents=True, exist_ok=True)
    values = {name: keep(name, secrets.token_urlsafe(32)) for name in PASSWORDS}
    keep("django_secret_key", secrets.token_urlsafe(50))
    keep("database_url", f"postgres://site:{values['postgres_password']}@db:5432/site")
    keep("redis_url", f"redis://site:{values['redis_password']}@127.0.0.1:{REDIS_PORT}/0")


def keep(name: str, new: str) -> str:
    """Return the secret `name`; write `new` if it does not exist yet."""
    path = FOLDER / name
    if path.exists():
        return path.read_text("ascii").strip()
    path.write_text(new, "ascii")
    # Readable for the users of the containers; the folder itself is private.
    path.chmod(0o644)
    print(f"made {path}")  # noqa: T201
    return new


if __name__ == "__main__":
    main()
