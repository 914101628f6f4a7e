"""Sites that used Django's engine or that of version 0.1: migrations, forwards and backwards."""

from importlib import import_module
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.apps import apps
from django.conf import settings as django_settings
from django.contrib import auth
from django.contrib.auth.models import User
from django.contrib.sessions.backends import db as django_db
from django.contrib.sessions.models import Session as DjangoSession
from django.core.management import call_command
from django.db import connection, models
from django.test import Client
from django.utils import timezone
from outlast.models import Session
from outlast.sessions import columns
from session_helpers import is_logged_in, loaded, row, saved, store

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("engine")]


@pytest.fixture
def django_row(user: User) -> str:
    """A session that Django's engine inserted, before the columns were there."""
    session = django_db.SessionStore()
    session[auth.SESSION_KEY] = str(user.pk)
    session[auth.BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[auth.HASH_SESSION_KEY] = user.get_session_auth_hash()
    session["fruit"] = "apple"
    session.save()
    DjangoSession.objects.filter(pk=session.session_key).update(expire_date=timezone.now())
    DjangoSession.objects.update(expire_date=timezone.now() + timezone.timedelta(days=1))
    return str(session.session_key)


def test_adopting_the_engine_logs_no_one_out(django_row: str, user: User, client: Client) -> None:
    assert Session.objects.get().version is None
    assert is_logged_in(client, django_row)
    found = Session.objects.get()  # its columns are there after one request
    assert found.user == user and found.version and found.public_id and found.created
    assert found.authenticated is None
    assert is_logged_in(client, django_row)
    assert loaded(django_row)["fruit"] == "apple"


@pytest.mark.parametrize("async_", [False, True])
def test_an_adopted_session_is_kept_by_its_next_save(
    django_row: str, user: User, async_: bool
) -> None:
    session = store(django_row)
    if async_:
        async_to_sync(session.aset)("fruit", "pear")
        async_to_sync(session.asave)()
    else:
        session["fruit"] = "pear"
        session.save()
    found = row(session)
    assert found.user == user and found.public_id and found.created
    assert loaded(django_row)["fruit"] == "pear"


def test_going_back_to_djangos_engine_logs_no_one_out(logged_in: Client, settings: Any) -> None:
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    assert is_logged_in(logged_in)


def test_clearsessions_gives_columns_to_rows_of_djangos_engine(
    django_row: str, user: User
) -> None:
    call_command("clearsessions")
    assert Session.objects.get().user == user


# --- Migrations ---


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("transactional", [True, False])
def test_the_migration_can_be_undone_and_done_again(
    user: User, client: Client, transactional: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # MySQL refuses to change tables in a transaction.
    monkeypatch.setattr(connection.features, "can_rollback_ddl", transactional)
    client.force_login(user)
    call_command("migrate", "outlast", "zero", verbosity=0)
    try:
        with connection.cursor() as cursor:
            found = connection.introspection.get_table_description(cursor, "django_session")
        assert len(found) == 3
        assert DjangoSession.objects.count() == 1
    finally:
        call_command("migrate", "outlast", verbosity=0)
    in_row = django_settings.SESSION_ENGINE != "outlast.sessions.file"
    assert is_logged_in(client) or not in_row


@pytest.mark.django_db(transaction=True)
def test_sessions_of_version_0_1_are_moved(user: User, client: Client) -> None:
    client.force_login(user)
    key = client.session.session_key
    data = store().encode(dict(store(key).items()))
    migration = import_module("outlast.migrations.0001_initial")
    with connection.schema_editor() as editor:
        editor.execute(
            "CREATE TABLE backends_session AS SELECT session_key, session_data, expire_date,"
            " version, public_id, created AS created_at, last_seen, address, user_agent, user_id"
            " FROM django_session"
        )
        editor.execute(
            "UPDATE backends_session SET session_data = %s, version = 'x', address = '192.0.2.1',"
            " user_agent = 'Lynx'",
            [data],
        )
    before = Session.objects.get()
    Session.objects.all()._raw_delete("default")
    with connection.schema_editor() as editor:
        migration.move_sessions(apps, editor)
    after = Session.objects.get()
    assert (after.public_id, after.created) == (before.public_id, before.created)
    assert is_logged_in(client, key)
    assert "backends_session" not in connection.introspection.table_names()
    found = Session.objects.get()
    assert (found.address, found.user_agent, found.public_id) == (
        "192.0.2.1",
        "Lynx",
        before.public_id,
    )


@pytest.mark.django_db(transaction=True)
def test_columns_are_added_without_migrations(user: User, client: Client) -> None:
    with connection.schema_editor() as editor:
        editor.delete_model(DjangoSession)
        editor.create_model(DjangoSession)
    columns.add_after_migrate("default")
    columns.add_after_migrate("default")  # does nothing
    client.force_login(user)
    assert is_logged_in(client)


def test_no_relation_leads_from_the_user_to_sessions() -> None:
    assert not [f for f in User._meta.get_fields() if f.related_model is Session]
    assert isinstance(Session._meta.get_field("user"), models.ForeignKey)


def test_the_key_is_not_shown() -> None:
    session = saved()
    assert str(row(session)) == str(row(session).public_id)
