from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """People: user, login, logout, sessions, password, live events."""

    name = "apps.accounts"
