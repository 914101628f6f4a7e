from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """People: user, login, logout, sessions, password, live events."""

    name = "accounts"

    def ready(self) -> None:
        from accounts import events  # noqa: F401, it listens to signals
