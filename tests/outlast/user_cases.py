"""Expected values of `request.user`: authentication backends, changes after a login."""

from datetime import timedelta
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib import auth
from django.contrib.auth.backends import AllowAllUsersModelBackend, BaseBackend, ModelBackend
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session as DjangoSession
from django.db import connection
from django.test import Client
from session_helpers import age, store

MODEL = "django.contrib.auth.backends.ModelBackend"
Person: Any = auth.get_user_model()  # another one in test_sessions_elsewhere.py


class OwnUser(ModelBackend):
    """A backend that finds users in its own way."""

    def get_user(self, user_id: int) -> Any:
        user = super().get_user(user_id)
        if user:
            user.first_name = "found by OwnUser"
        return user

    async def aget_user(self, user_id: int) -> Any:
        return await sync_to_async(self.get_user)(user_id)


class Elsewhere(BaseBackend):
    """A backend that keeps its users out of the database."""

    def get_user(self, user_id: int) -> Any:
        return Person(pk=user_id, username="from elsewhere", password="x")  # noqa: S106

    async def aget_user(self, user_id: int) -> Any:
        return self.get_user(user_id)


class Choosy(ModelBackend):
    """A backend with its own rules for who can log in."""

    def user_can_authenticate(self, user: Any) -> bool:
        return super().user_can_authenticate(user) and user.username != "eve"


# --- What happens to a person who is logged in ---


def nothing(user: User, settings: Any) -> None: ...


def inactive(user: User, settings: Any) -> None:
    Person.objects.update(is_active=False)


def inactive_but_let_in(user: User, settings: Any) -> None:
    inactive(user, settings)
    path = f"{AllowAllUsersModelBackend.__module__}.AllowAllUsersModelBackend"
    settings.AUTHENTICATION_BACKENDS = [path]
    log_in(user, path)


def deleted(user: User, settings: Any) -> None:
    Person.objects.filter(pk=user.pk)._raw_delete("default")


def password_changed(user: User, settings: Any) -> None:
    user.set_password("another one")
    user.save()


def secret_key_rotated(user: User, settings: Any) -> None:
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "a new one"  # noqa: S105


def rotated_and_password_changed(user: User, settings: Any) -> None:
    secret_key_rotated(user, settings)
    password_changed(user, settings)


def backend_removed(user: User, settings: Any) -> None:
    settings.AUTHENTICATION_BACKENDS = [f"{__name__}.OwnUser"]


def own_get_user(user: User, settings: Any) -> None:
    settings.AUTHENTICATION_BACKENDS = [MODEL, f"{__name__}.OwnUser"]
    log_in(user, f"{__name__}.OwnUser")


def users_elsewhere(user: User, settings: Any) -> None:
    settings.AUTHENTICATION_BACKENDS = [f"{__name__}.Elsewhere"]
    session = store(KEY["of the session"])
    session[auth.BACKEND_SESSION_KEY] = f"{__name__}.Elsewhere"
    session.save()


def own_rule_who_may(user: User, settings: Any) -> None:
    settings.AUTHENTICATION_BACKENDS = [f"{__name__}.Choosy"]
    log_in(user, f"{__name__}.Choosy")
    Person.objects.update(username="eve")


def no_hash(user: User, settings: Any) -> None:
    session = store(KEY["of the session"])
    del session[auth.HASH_SESSION_KEY]
    session.save()


def user_is_no_number(user: User, settings: Any) -> None:
    session = store(KEY["of the session"])
    session[auth.SESSION_KEY] = None
    session.save()


def ended_in_sql(user: User, settings: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_session")


def expired(user: User, settings: Any) -> None:
    age(store(KEY["of the session"]), expire_date=timedelta(seconds=1))


def written_by_django(user: User, settings: Any) -> None:
    """The row as Django's own engine inserts it."""
    found = DjangoSession.objects.get(pk=KEY["of the session"])
    data = store(KEY["of the session"]).encode(dict(store(KEY["of the session"]).items()))
    found.delete()
    DjangoSession(found.session_key or KEY["of the session"], data, found.expire_date).save()


CASES = [
    *(nothing, inactive, inactive_but_let_in, deleted, password_changed, secret_key_rotated),
    *(rotated_and_password_changed, backend_removed, own_get_user, users_elsewhere),
    *(own_rule_who_may, no_hash, user_is_no_number, ended_in_sql, expired, written_by_django),
]
KEY: dict[str, str] = {}


def log_in(user: User, backend: str = MODEL) -> None:
    client = Client()
    client.force_login(user, backend)
    KEY["of the session"] = str(client.session.session_key)
