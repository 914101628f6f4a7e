"""The session engines `db`, `file` and `redis`.

A session is a row of Django's table `django_session`. Its columns say who is logged in; its
data is in the row, in a file, or in the row with a copy in Redis. Deleting rows, in any way,
ends sessions: `Session.objects.filter(user=user).delete()`.
"""

from contextvars import ContextVar
from copy import copy
from functools import partial
from importlib import import_module
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.db.models.deletion import Collector
from django.db.models.signals import post_delete, post_save, pre_delete, pre_save
from django.dispatch import Signal

# Sent after the commit for each session that is deleted, with session_key, user_id (None: not
# logged in) and session (the row as it was). Not sent for a session whose key is replaced.
session_ended = Signal()

# The session of the request that is being handled, set by SessionMiddleware.
acting: ContextVar[Any] = ContextVar("acting", default=None)


def connect_receivers(model: Any) -> None:
    """Connect the receivers for a model of sessions."""
    pre_save.connect(note_change, sender=model)
    post_save.connect(clear_version, sender=model)
    pre_delete.connect(keep_row, sender=model)
    post_delete.connect(announce_end, sender=model)


def all_sessions() -> Any:
    """Return the rows of the active engine, perhaps of the project's model; None for Django's."""
    rows = getattr(import_module(settings.SESSION_ENGINE).SessionStore, "rows", None)
    return rows and rows()


def announce_end(instance: Any, using: str, **kwargs: Any) -> None:
    """Receive `post_delete` of a session: send `session_ended` once that is committed."""
    if instance._outlast is not None:
        transaction.on_commit(partial(_clear_up, instance._outlast), using=using)


def _clear_up(session: Any) -> None:
    store = session.get_session_store_class()
    if hasattr(store, "forget"):
        store.forget(session)
    if not session.rotated:
        session_ended.send_robust(
            sender=type(session),
            session_key=session.session_key,
            user_id=session.user_id,
            session=session,
        )


def keep_row(instance: Any, using: str, **kwargs: Any) -> None:
    """Receive `pre_delete` of a session: note the row for `announce_end`."""
    from outlast.models import AbstractSession

    instance._outlast = copy(instance)  # Django removes the key from the deleted instance
    if not isinstance(instance, AbstractSession) or instance.get_deferred_fields():
        rows = _rows(instance, using)
        # On SQLite a transaction that begins by reading cannot wait to write, so write first.
        rows.update(expire_date=F("expire_date"))
        instance._outlast = rows.first()
    if (session := acting.get()) and session.session_key == instance.pk:
        session.note_end()


def cascade(instance: Any, using: str, **kwargs: Any) -> None:
    """Receive `pre_delete` of our model: delete objects of packages that refer to Django's."""
    from django.contrib.sessions.models import Session as DjangoSession

    related = DjangoSession._meta.get_fields(include_hidden=True)
    if any(field.auto_created and not field.concrete for field in related):
        collector = Collector(using=using, origin=instance)
        collector.collect([DjangoSession(pk=instance.pk)])
        collector.data.pop(DjangoSession)  # Django is about to delete the row itself
        collector.delete()


def note_change(instance: Any, using: str, update_fields: Any = None, **kwargs: Any) -> None:
    """Receive `pre_save`: note whether code other than the engine changes the data."""
    if update_fields is not None:
        instance._outlast_same = "session_data" not in update_fields
    elif not hasattr(instance, "_outlast_same"):  # see SessionStore._insert
        # Equal text is the same data, because it contains a time and a signature.
        rows = _rows(instance, using).filter(session_data=instance.session_data)
        instance._outlast_same = rows.exists()
    if not instance._outlast_same:
        instance.version = None


def clear_version(instance: Any, created: bool, using: str, **kwargs: Any) -> None:
    """Receive `post_save`: columns and copies no longer match changed data."""
    if not vars(instance).pop("_outlast_same") and not created:
        _rows(instance, using).update(version=None)


def _rows(instance: Any, using: str) -> Any:
    from outlast.models import AbstractSession, Session

    model = type(instance) if isinstance(instance, AbstractSession) else Session
    return model._default_manager.using(using).filter(pk=instance.pk)


def note_password(request: Any, **kwargs: Any) -> None:
    """Receive `user_logged_in`: the next save of the session writes `authenticated`."""
    from outlast.sessions.db import SessionStore

    session = getattr(request, "session", None)
    if isinstance(session, SessionStore):
        session.password_given = True
