from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """Accounts: user, login, logout, sessions, password, live events."""

    name = "accounts"

    def ready(self) -> None:
        from accounts import events, throttle  # noqa: F401, they listen to signals
