"""Make the secrets that compose.yaml hands to the containers: `python deploy/make_secrets.py`.

One file each in var/secrets, which is never committed. What is there already stays, so that
it can be run again after an upgrade that needs one more.
"""

import secrets
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "var" / "secrets"
REDIS_PORT = 7001  # of the one Redis in compose.yaml
PASSWORDS = (
    "postgres_password",
    "redis_password",  # the site's own
    "redis_replica_password",
    "redis_guard_password",  # of the Sentinels, with the servers
    "redis_sentinel_password",  # of the site, with the Sentinels
    "redis_admin_password",  # for people
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
    # Readable within a folder that is private: the containers' users are not this one.
    path.chmod(0o644)
    print(f"made {path}")  # noqa: T201
    return new


if __name__ == "__main__":
    main()
